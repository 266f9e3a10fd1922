//! What one message of the stream to a conn node carries, and what its pump has to make good. Plain data.

use gim_proto::logic::DownItem;

/// What leaves next.
#[derive(Debug, Default)]
pub struct ItemBatch {
    /// For one message of the stream.
    pub items: Vec<DownItem>,
    /// `(connection id, user id)` of persisted pushes that were dropped, now that there is room again.
    pub owed_hints: Vec<(u64, u64)>,
    /// Large groups of which persisted pushes were dropped, likewise.
    pub owed_groups: Vec<u64>,
}
