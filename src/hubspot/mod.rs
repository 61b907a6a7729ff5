//! All that is HubSpot's.
