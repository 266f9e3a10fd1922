//! The use cases, one function each, read top-down. They know no gRPC status and no SQL; the time is an argument.
//! Fields were checked before they come here. All of them run on Tokio, in any number at once.

pub mod attempt_counts;
pub mod codes;
pub mod contact;
pub mod friend;
pub mod profile;
pub mod sign_in;
pub mod tokens;

use crate::{domain::user::User, error::UseCaseError, store::Store};
use gim_proto::ResultCode;

/// Who makes a call, after her token was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub user_id: u64,
    pub device_id: u64,
    /// Passed on to logic; empty where the client gave none.
    pub request_id: String,
}

/// The user with this id, or the refusal that there is none.
async fn existing_user(store: &Store, user_id: u64) -> Result<User, UseCaseError> {
    Ok(store.user(user_id).await?.ok_or(ResultCode::UserNotFound)?)
}
