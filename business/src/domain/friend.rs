//! Friends: a one-sided request that becomes a two-sided friendship once the other side agrees.

use super::user::User;

/// A friend as the list of friends shows one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Friend {
    pub user: User,
    pub remarks: String,
    pub extra: String,
}

/// A request to be friends, as the one who was asked sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    pub user: User,
    pub description: String,
    /// When it was made, or renewed.
    pub asked_at_ms: i64,
}

/// What became of a wish to block somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockOutcome {
    /// Blocked, now or before.
    Blocked,
    /// The list is full.
    ListFull,
}

/// How one user stands to another. The numbers are stored and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum FriendStatus {
    /// Has asked; the other side has not agreed.
    Requested = 1,
    /// Both sides agreed; the other side's row says the same.
    Friends = 2,
}

/// What became of a request to be friends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    /// It stands; an earlier one of the same user was renewed by it.
    Stored {
        /// Whether the other side is to be told: it was not, in the last while.
        is_news: bool,
    },
    /// There is nothing to ask for.
    AlreadyFriends,
    /// The other side does not want to hear of the asker.
    Blocked,
    /// The asker's list is full.
    ListFull,
    /// The asker has asked as many in the last while.
    TooMany,
}

/// What became of an agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgreeOutcome {
    /// The two are friends: by this agreement, or by an earlier one that is repeated here.
    Friends {
        /// Whether the other side is to be told.
        is_news: bool,
    },
    /// The other user never asked.
    NotRequested,
    /// The other user asked, and does not want to hear of the agreeing one any more.
    Blocked,
    /// The agreeing user's list is full.
    ListFull,
}
