//! How far long work is: a bar on the error stream, where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// Gone when it is dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of work in so many steps, called by what is counted, such as `days`.
    pub(crate) fn new(steps: usize, of: &'static str) -> Self {
        let bar = ProgressBar::new(steps as u64).with_message(of);
        let template = "{bar:40} {pos} of {len} {msg}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// One more is done.
    pub(crate) fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
