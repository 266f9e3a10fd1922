//! Many at once: a room, with a late subscriber, one who leaves and an urgent push, and a push to all.

use gim_proto::logic::{
    PushRoomRequest, PushToAllRequest, message_int_service_client::MessageIntServiceClient,
    room_int_service_client::RoomIntServiceClient,
};

use super::{APP_COMMAND, Cast, Device, Stage};
use crate::result::Checks;

const ROOM_MESSAGES: usize = 10;

pub fn play(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    room(stage, cast, checks)?;
    all(stage, cast, checks)
}

fn room(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    // Positive as a signed number, because ids are stored as such.
    let room_id = rand::random::<u64>() >> 1 | 1;
    for device in [&mut cast.ada_phone, &mut cast.bob] {
        checks.equal(format!("{} enters a room: code", device.name()), 0, device.subscribe(room_id, 0)?);
    }
    let contents: Vec<_> = (1..=ROOM_MESSAGES).map(|number| stage.content(&format!("in the room {number}"))).collect();
    for content in &contents {
        push_room(stage, room_push(room_id, content))?;
    }
    // A new room begins at 1, or behind what a restore passed over.
    let first = cast.ada_phone.wait_for_content(&contents[0])?.map_or(1, |message| message.room_seq);
    let after = |count: usize| first + count as u64;
    let expected: Vec<_> = contents.iter().cloned().zip(first..).collect();
    for device in [&mut cast.ada_phone, &mut cast.bob] {
        device.wait_for_content(&contents[ROOM_MESSAGES - 1])?;
        check_room(checks, device, "in the room", room_id, &expected);
    }
    cast.ada_laptop.subscribe(room_id, after(3))?;
    cast.ada_laptop.wait_for_content(&contents[ROOM_MESSAGES - 1])?;
    check_room(checks, &cast.ada_laptop, "enters late, after 4 messages", room_id, &expected[4..]);

    checks.equal("Bob leaves the room: code", 0, cast.bob.subscribe(0, 0)?);
    let urgent = stage.content("in the room at once");
    let push = PushRoomRequest { is_persist: false, is_priority: true, ..room_push(room_id, &urgent) };
    push_room(stage, push)?;
    let last = stage.content("in the room without Bob");
    push_room(stage, room_push(room_id, &last))?;
    for device in [&mut cast.ada_phone, &mut cast.ada_laptop] {
        let seq = device.wait_for_content(&urgent)?.map(|message| message.room_seq);
        checks.arrives(format!("priority push: {} gets room_seq", device.name()), after(ROOM_MESSAGES), seq);
        let seq = device.wait_for_content(&last)?.map(|message| message.room_seq);
        checks.arrives(format!("{} is still in the room: room_seq", device.name()), after(ROOM_MESSAGES + 1), seq);
        device.subscribe(0, 0)?;
    }
    Ok(())
}

fn room_push(room_id: u64, content: &str) -> PushRoomRequest {
    PushRoomRequest {
        room_id,
        command: APP_COMMAND,
        content: content.to_owned().into(),
        is_persist: true,
        ..PushRoomRequest::default()
    }
}

fn push_room(stage: &Stage, push: PushRoomRequest) -> anyhow::Result<()> {
    let mut client = RoomIntServiceClient::new(stage.target.logic());
    stage.target.call("PushRoom", client.push_room(stage.target.internal(push)))
}

fn check_room(checks: &mut Checks, device: &Device, how: &str, room_id: u64, expected: &[(String, u64)]) {
    let messages = device.arrived().iter().filter(|message| message.room_id == room_id);
    let got: Vec<_> =
        messages.map(|message| (String::from_utf8_lossy(&message.content).into_owned(), message.room_seq)).collect();
    let words = |pairs: &[(String, u64)]| {
        let seqs: Vec<_> = pairs.iter().map(|(_, seq)| *seq).collect();
        format!("{} messages, seqs {}", pairs.len(), super::order::ranges(&seqs))
    };
    checks.holds(format!("{} {how}: order", device.name()), words(expected), words(&got), got == expected);
}

fn all(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    let content = stage.content("to all");
    let request = PushToAllRequest { command: APP_COMMAND, content: content.clone().into(), ..Default::default() };
    let mut client = MessageIntServiceClient::new(stage.target.logic());
    stage.target.call("PushToAll", client.push_to_all(stage.target.internal(request)))?;
    for device in cast.all() {
        let got = device.wait_for_content(&content)?.map(|message| (message.command, message.seq));
        checks.arrives(format!("push to all: {} gets (command, seq)", device.name()), (APP_COMMAND, 0), got);
    }
    let left: Vec<_> = cast.bob.arrived().iter().map(|message| &message.content).cloned().collect();
    let stray = left.iter().any(|got| *got == stage.content("in the room without Bob").as_bytes());
    checks.equal("Bob, who left the room, gets its messages", false, stray);
    Ok(())
}
