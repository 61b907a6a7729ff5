//! The dashboard of the command line as those meet it who look at it, post to it, or mean it harm.

mod browser;
mod day;
mod door;
mod http;
mod live;
mod logs;
mod page;
mod program;
#[path = "../common/program.rs"]
mod shared;
mod webdriver;
