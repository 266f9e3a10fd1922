//! What is going on, for the people who wait: a bar with live figures on a terminal, else a plain line now and then. All of
//! it goes to standard error, so that standard output has results only. A client process tells its parent instead.
#![allow(clippy::print_stderr, reason = "printing is what this module is for")]

use std::{
    io::{self, IsTerminal as _},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

const BAR_INTERVAL: Duration = Duration::from_millis(100);
const LINE_INTERVAL: Duration = Duration::from_secs(5);
const PARENT_INTERVAL: Duration = Duration::from_millis(500);

/// Whether a parent is told instead of people.
static HAS_PARENT: AtomicBool = AtomicBool::new(false);

/// Connections that are ready, in this process or its children.
static STANDING: AtomicU64 = AtomicU64::new(0);

/// From now on a parent is told.
pub fn tell_parent() {
    HAS_PARENT.store(true, Relaxed);
}

/// Notes how many connections are ready.
pub fn set_standing(connections: u64) {
    STANDING.store(connections, Relaxed);
}

/// Connections that are ready.
pub fn standing() -> u64 {
    STANDING.load(Relaxed)
}

/// The progress of one step.
#[derive(Debug)]
pub struct Progress {
    step: String,
    total: u64,
    bar: Option<ProgressBar>,
    shown_at: Instant,
}

impl Progress {
    /// A step that is done when `total` is reached.
    pub fn new(step: &str, total: u64) -> Self {
        let has_bar = !HAS_PARENT.load(Relaxed) && io::stderr().is_terminal();
        let bar = has_bar.then(|| {
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent}%  {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style).with_prefix(step.to_owned())
        });
        Self { step: step.to_owned(), total, bar, shown_at: Instant::now() }
    }

    /// What is under way.
    pub fn step(&self) -> &str {
        &self.step
    }

    /// There is more, or less, to do than it seemed.
    pub fn resize(&mut self, total: u64) {
        self.total = total;
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    /// How far it is; `figures` is asked only when something is shown.
    pub fn show(&mut self, done: u64, figures: impl FnOnce() -> String) {
        let has_parent = HAS_PARENT.load(Relaxed);
        let interval = match &self.bar {
            Some(_) => BAR_INTERVAL,
            None if has_parent => PARENT_INTERVAL,
            None => LINE_INTERVAL,
        };
        if self.shown_at.elapsed() < interval {
            return;
        }
        self.shown_at = Instant::now();
        let (done, total) = (done.min(self.total), self.total);
        match &self.bar {
            Some(bar) => {
                bar.set_message(figures());
                bar.set_position(done);
            }
            None if has_parent => {
                let line = json!({ "step": self.step, "done": done, "total": total, "standing": standing() });
                crate::part::say(&line);
            }
            None => eprintln!("{}: {}%  {}", self.step, done * 100 / total.max(1), figures()),
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
