//! HubSpot's calls for single records as batch calls: each caller gets what the single call would have said, or is told nothing.
//!
//! The bodies are HubSpot's, as documented or recorded.

mod bundle;
mod creates;
mod hostile;
mod reads;
mod refusals;
mod requests;
mod speed;
mod updates;
mod whose;
