//! Who a user is.

/// A user as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub user_id: u64,
    pub phone_number: String,
    pub profile: Profile,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// What a user says about herself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    pub nickname: String,
    /// The product's own numbering; stored as it comes.
    pub sex: i32,
    pub avatar_url: String,
    pub extra: String,
}
