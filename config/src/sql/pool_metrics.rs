//! How many connections of a pool are taken, and how many requests wait for one. Any task.

use metrics::{Gauge, gauge};
use tokio::sync::OwnedSemaphorePermit;

use crate::{in_gauge::InGauge, metrics as names};

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct PoolMetrics {
    in_use: Gauge,
    waiting: Gauge,
}

/// A place for a connection, which is in use until this is dropped.
#[derive(Debug)]
pub(super) struct CountedPlace {
    _permit: OwnedSemaphorePermit,
    _in_use: InGauge,
}

impl std::fmt::Debug for PoolMetrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PoolMetrics")
    }
}

impl PoolMetrics {
    /// Of a pool with so many places.
    pub(super) fn new(pool: &'static str, places: usize) -> Self {
        let named = |name: &'static str| gauge!(name, "pool" => pool);
        named(names::DATABASE_POOL_PLACES).set(places as f64);
        Self { in_use: named(names::DATABASE_POOL_IN_USE), waiting: named(names::DATABASE_POOL_WAITING) }
    }

    /// A request that waits, until this is dropped.
    pub(super) fn wait(&self) -> InGauge {
        InGauge::one(&self.waiting)
    }

    /// A place that was taken.
    pub(super) fn place(&self, permit: OwnedSemaphorePermit) -> CountedPlace {
        CountedPlace { _permit: permit, _in_use: InGauge::one(&self.in_use) }
    }
}
