//! Connections whose clients speak an older dialect cost what others do: nothing while they are idle, and no allocation per packet or
//! per member of a room.

use allocation_counter::measure;
use gim_legacy::{Dialect, packets::Scratch};
use gim_proto::{
    connect::MessageCommand,
    content::{self, Media},
    logic::{GroupMessagePush, User},
};

use super::*;

const MEMBERS: u64 = 50;

fn sign_in(harness: &mut Harness, dialect: Dialect, device_id: u64) -> (TcpStream, ConnectionId) {
    let (stream, connection) = harness.sign_in(device_id);
    harness.reactor.table.get(connection.slot()).unwrap().dialect = Some(dialect);
    (stream, connection)
}

/// The dialect's own frame of a command that needs nothing else: one number, which is its command or its type.
fn frame_of(dialect: Dialect, command: PacketCommand) -> Option<Vec<u8>> {
    let frames = [0x08, 0x10].into_iter().flat_map(|key| (0..8).map(move |number| [key, number]));
    let is_it = |frame: &[u8; 2]| {
        let mut scratch = Scratch::default();
        let read = dialect.packets().read(frame, &mut scratch);
        read.is_ok_and(|packet| packet.command == command as i32)
    };
    let frame = { frames }.find(is_it)?;
    Some([&[frame.len() as u8], &frame[..]].concat())
}

fn members(harness: &mut Harness, dialect: Option<Dialect>) -> Vec<(TcpStream, ConnectionId)> {
    let member = |device_id| {
        let (stream, connection) = harness.sign_in(device_id);
        harness.reactor.table.get(connection.slot()).unwrap().dialect = dialect;
        (stream, connection)
    };
    (1..=MEMBERS).map(member).collect()
}

/// What a user says, one of each kind of which no line has to be made, in the wrapper in which it goes around.
fn said() -> Vec<gim_proto::connect::Message> {
    let media = || Some(Media { url: "https://a.example/b".into(), ..Media::default() });
    let mentions = vec![content::Mention { user_id: 3, offset: 0, length: 1 }];
    let text = content::Text { text: "hi".into(), mentions, mentions_all: false };
    let reply = content::Reply { message_id: 1, text: Some(text.clone()), ..content::Reply::default() };
    let kinds: [(MessageCommand, Vec<u8>); 9] = [
        (MessageCommand::McGroupMessage, b"own".to_vec()),
        (MessageCommand::McText, text.encode_to_vec()),
        (MessageCommand::McReply, reply.encode_to_vec()),
        (MessageCommand::McSticker, content::Sticker { media: media(), ..Default::default() }.encode_to_vec()),
        (
            MessageCommand::McVoice,
            content::Voice { media: media(), duration_ms: 1_500, ..Default::default() }.encode_to_vec(),
        ),
        (MessageCommand::McImage, content::Image { media: media(), width: 1, ..Default::default() }.encode_to_vec()),
        (MessageCommand::McFile, content::File { media: media(), name: "f".into() }.encode_to_vec()),
        (MessageCommand::McLocation, content::Location { latitude: 1.5, ..Default::default() }.encode_to_vec()),
        (MessageCommand::McCustom, content::Custom { r#type: "a".into(), ..Default::default() }.encode_to_vec()),
    ];
    let wrapped = |(command, content): (MessageCommand, Vec<u8>)| {
        let from_user = Some(User { user_id: 5, nickname: "n".into(), ..User::default() });
        let content = GroupMessagePush { from_user, group_id: 6, content: content.into() }.encode_to_vec().into();
        gim_proto::connect::Message {
            command: command as i32,
            content,
            group_id: 6,
            is_from_user: true,
            created_at_ms: 1,
            ..Default::default()
        }
    };
    kinds.into_iter().map(wrapped).collect()
}

#[test]
fn a_heartbeat_in_a_dialect_costs_no_allocation_and_leaves_nothing() {
    const ROUNDS: u64 = 100;
    for dialect in Dialect::all() {
        let mut harness = Harness::new(|settings| settings.session.packets_per_s = 0);
        let (mut stream, connection) = sign_in(&mut harness, dialect, 1);
        let heartbeat = frame_of(dialect, PacketCommand::PcHeartbeat).unwrap();
        let mut beat = |count: usize| {
            stream.write_all(&heartbeat.repeat(count)).unwrap();
            harness.wait_for_input(connection, heartbeat.len() * count);
            let allocations = measure(|| harness.turn()).count_total;
            assert_eq!(
                harness.reactor.context.metrics.published_of(dialect).unwrap().heartbeats,
                count as u64,
                "{dialect:?}"
            );
            assert_eq!(readable(&mut stream), heartbeat.repeat(count), "{dialect:?}: the answer is the same");
            harness.up();
            allocations
        };
        beat(8);
        let few: u64 = (0..ROUNDS).map(|_| beat(1)).sum();
        let many: u64 = (0..ROUNDS).map(|_| beat(32)).sum();
        assert!(many <= few + ROUNDS, "{dialect:?}: {few} in turns of one heartbeat, {many} in turns of 32");
        let idle = harness.reactor.table.get(connection.slot()).unwrap();
        assert!(idle.outbound.is_none() && idle.transport.is_none() && idle.intake.tail_bytes() == 0);
    }
}

#[test]
fn a_push_to_a_room_is_rewritten_once_for_all_who_speak_a_dialect() {
    for dialect in Dialect::all() {
        let mut harness = Harness::new(|_| {});
        let mut members = members(&mut harness, Some(dialect));
        let has_rooms = frame_of(dialect, PacketCommand::PcSubscribeRoom).is_some();
        for (_, connection) in &members {
            harness.tell(Command::Subscribe { connection: *connection, room_id: 5, reply: None, retained: vec![] });
        }
        let content = "news".into();
        let message = gim_proto::connect::Message { command: 2_001, content, room_id: 5, ..Default::default() };
        let body = message.encode_to_vec();
        let mut push = |pushes: usize| {
            for _ in 0..pushes {
                harness.tell(Command::PushToRoom { room_id: 5, frame: packet::message(&body, 0, 0), urgent: false });
            }
            let allocations = measure(|| harness.turn()).count_total;
            let said: Vec<Vec<u8>> = members.iter_mut().map(|(stream, _)| readable(stream)).collect();
            assert!(said.iter().all(|one| one.is_empty() != has_rooms && *one == said[0]), "{dialect:?}");
            allocations
        };
        push(1);
        push(8);
        for _ in 0..20 {
            let (one, burst) = (push(1), push(8));
            assert!(one <= 12 && burst <= 40, "{dialect:?}: {one} for a push, {burst} for eight, to {MEMBERS}");
        }
    }
}

#[test]
fn a_message_of_a_large_group_is_rewritten_once_for_all() {
    for dialect in Dialect::all() {
        let mut harness = Harness::new(|_| {});
        let mut members = members(&mut harness, Some(dialect));
        let joined = members.iter().map(|(_, connection)| *connection).collect();
        harness.tell(Command::GroupMemberships { group_id: 6, joined, left: Vec::new() });
        let bodies = said();
        let mut seq = 0;
        let mut push = |pushes: usize| {
            for body in bodies.iter().cycle().take(pushes) {
                seq += 1;
                let body = gim_proto::connect::Message { group_seq: seq, ..body.clone() };
                let frame = packet::message(&body.encode_to_vec(), 0, 0);
                harness.tell(Command::PushToGroup { group_id: 6, seq, origin_device_id: 0, frame });
            }
            let allocations = measure(|| harness.turn()).count_total;
            let said: Vec<Vec<u8>> = members.iter_mut().map(|(stream, _)| readable(stream)).collect();
            assert!(said.iter().all(|one| !one.is_empty() && *one == said[0]), "{dialect:?}");
            allocations
        };
        push(1);
        push(9);
        for _ in 0..20 {
            let (one, each) = (push(1), push(9));
            assert!(one <= 12 && each <= 45, "{dialect:?}: {one} for a push, {each} for nine, to {MEMBERS}");
        }
    }
}

#[test]
fn a_message_under_a_seq_of_each_receiver_costs_one_allocation_more() {
    // What a reactor allocates to push the same to clients of today, or of a dialect.
    let cost = |dialect: Option<Dialect>, body: &gim_proto::connect::Message| {
        let mut harness = Harness::new(|_| {});
        let mut members = members(&mut harness, dialect);
        let body = body.encode_to_vec();
        let mut push = |first: u64| {
            let frame = |device_id: u64| (device_id, packet::message(&body, first + device_id, first));
            let (pushes, tell_found) = ((1..=MEMBERS).map(frame).collect(), TellFound::new(drop));
            harness.tell(Command::PushToDevices { pushes, tell_found });
            let allocations = measure(|| harness.turn()).count_total;
            assert!(members.iter_mut().all(|(stream, _)| !readable(stream).is_empty()), "{dialect:?}");
            allocations
        };
        push(1);
        (0..5).map(|round| push(1_000 * round)).min().unwrap()
    };
    for body in said() {
        let todays = cost(None, &body);
        for dialect in Dialect::all() {
            let worded = cost(Some(dialect), &body);
            assert!(worded <= todays + MEMBERS + 12, "{dialect:?}: {worded} where today's cost {todays}");
        }
    }
}
