//! `rooms`: how many connections are in rooms, as their conn nodes told it a second ago.

use gim_proto::logic::{CountRoomMembersRequest, room_int_service_client::RoomIntServiceClient};
use serde_json::json;

use crate::{
    answer::{Answer, table},
    remote::{Remote, RemoteArguments, RemoteError},
};

/// Which rooms.
#[derive(Debug, clap::Args)]
pub struct RoomsArguments {
    /// Rooms
    #[arg(required = true, value_name = "ROOM_ID", value_parser = clap::value_parser!(u64).range(1..))]
    room_ids: Vec<u64>,
    #[command(flatten)]
    remote: RemoteArguments,
}

/// Counts.
pub async fn run(arguments: &RoomsArguments) -> Result<Answer, RemoteError> {
    let logic = arguments.remote.logic()?;
    let request = CountRoomMembersRequest { room_ids: arguments.room_ids.clone() };
    let reply = RoomIntServiceClient::new(logic.channel.clone()).count_members(Remote::request(request)).await;
    let rooms = reply.map_err(|status| logic.error("RoomIntService/CountMembers", &status))?.into_inner().rooms;
    let rows: Vec<_> = rooms.iter().map(|room| vec![room.room_id.to_string(), room.members.to_string()]).collect();
    let told: Vec<_> = rooms.iter().map(|room| json!({"room_id": room.room_id, "members": room.members})).collect();
    Ok(Answer::good(table(&["room", "connections"], &rows), json!({ "rooms": told })))
}
