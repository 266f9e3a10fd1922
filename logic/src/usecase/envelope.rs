//! What receivers get of a client's message: the content, with the card of who really sent it. Pure functions.

use bytes::Bytes;
use gim_proto::logic::{GroupMessagePush, User, UserMessagePush};
use prost::Message;

/// For one user, or for a room where `to_user_id` is 0.
pub(super) fn wrap(from_user: User, to_user_id: u64, content: Bytes) -> Bytes {
    UserMessagePush { from_user: Some(from_user), to_user_id, content }.encode_to_vec().into()
}

/// For the members of a group.
pub(super) fn wrap_for_group(from_user: User, group_id: u64, content: Bytes) -> Bytes {
    GroupMessagePush { from_user: Some(from_user), group_id, content }.encode_to_vec().into()
}
