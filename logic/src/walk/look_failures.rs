//! What keeps walks from looking at what is stored, told seldom: it may last, and nothing is lost by it. Any task.

use std::{sync::Arc, time::Instant};

use gim_config::seldom::Seldom;

use crate::store::StoreError;

/// Clones tell it as one.
#[derive(Debug, Clone, Default)]
pub struct LookFailures(Arc<Seldom>);

impl LookFailures {
    /// Tells one.
    pub fn warn(&self, error: &StoreError) {
        if let Some(left_out) = self.0.due(Instant::now()) {
            tracing::warn!(%error, left_out, "what happened cannot be read now: events and streams come later");
        }
    }
}
