//! Who is in rooms.

use gim_proto::logic::{CountRoomMembersReply, CountRoomMembersRequest};

use crate::{client::Client, error::GimError};

/// See [`Client::rooms`].
#[derive(Debug, Clone, Copy)]
pub struct Rooms<'a> {
    pub(super) client: &'a Client,
}

impl Rooms<'_> {
    /// How many connections are in each of at most 100 rooms, in the order of these: as it was about two seconds ago at most.
    pub async fn count_members(&self, room_ids: &[u64]) -> Result<Vec<u64>, GimError> {
        let request = CountRoomMembersRequest { room_ids: room_ids.to_vec() };
        let reply: CountRoomMembersReply = self.client.rpc("logic.RoomExtService/CountMembers", &request).await?;
        Ok(reply.rooms.iter().map(|room| room.members).collect())
    }
}
