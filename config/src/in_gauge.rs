//! Something that a gauge counts as long as it is there. Any task.

use metrics::Gauge;

/// See the module's documentation.
#[must_use = "it counts only while it is held"]
pub struct InGauge(Gauge);

impl InGauge {
    /// One more, until it is dropped.
    pub fn one(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl std::fmt::Debug for InGauge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("InGauge")
    }
}

impl Drop for InGauge {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
