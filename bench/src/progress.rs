//! What is going on, for the people who wait: a bar with live figures on a terminal, else a plain line now and then. All of
//! it goes to standard error, so that standard output has results only.
#![allow(clippy::print_stderr, reason = "printing is what this module is for")]

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

const BAR_INTERVAL: Duration = Duration::from_millis(100);
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The progress of one step.
#[derive(Debug)]
pub struct Progress {
    step: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    shown_at: Instant,
}

impl Progress {
    /// A step that is done when `total` is reached.
    pub fn new(step: &'static str, total: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent}%  {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style).with_prefix(step)
        });
        Self { step, total, bar, shown_at: Instant::now() }
    }

    /// How far it is; `figures` is asked only when something is shown.
    pub fn show(&mut self, done: u64, figures: impl FnOnce() -> String) {
        let interval = if self.bar.is_some() { BAR_INTERVAL } else { LINE_INTERVAL };
        if self.shown_at.elapsed() < interval {
            return;
        }
        self.shown_at = Instant::now();
        let done = done.min(self.total);
        match &self.bar {
            Some(bar) => {
                bar.set_message(figures());
                bar.set_position(done);
            }
            None => eprintln!("{}: {}%  {}", self.step, done * 100 / self.total.max(1), figures()),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
