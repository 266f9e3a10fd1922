//! Who asks.

/// A user on a device, once the token was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Who.
    pub user_id: u64,
    /// From where.
    pub device_id: u64,
}
