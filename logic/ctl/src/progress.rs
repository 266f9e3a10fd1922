//! How far it is: a bar on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// The bar of one step; it is gone once the step is.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A step over about so many things.
    pub fn of(what: &'static str, about: u64) -> Self {
        let template = "{prefix:18} {wide_bar} {human_pos} of about {human_len}, {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::new(about).with_style(style).with_prefix(what))
    }

    /// So many more are done.
    pub fn add(&self, count: usize) {
        self.0.inc(count as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
