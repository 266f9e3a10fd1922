//! Connections whose clients speak an older dialect cost what others do: nothing while they are idle, and no allocation per packet or
//! per member of a room.

use allocation_counter::measure;
use gim_legacy::{Dialect, packets::Scratch};

use super::*;

const MEMBERS: u64 = 50;

fn sign_in(harness: &mut Harness, dialect: Dialect, device_id: u64) -> (TcpStream, ConnectionId) {
    let (stream, connection) = harness.sign_in(device_id);
    harness.reactor.table.get(connection.slot()).unwrap().dialect = Some(dialect);
    (stream, connection)
}

/// The dialect's own frame of a heartbeat: one number, which is its command or its type.
fn heartbeat(dialect: Dialect) -> Vec<u8> {
    let frames = [0x08, 0x10].into_iter().flat_map(|key| (0..8).map(move |number| [key, number]));
    let is_heartbeat = |frame: &[u8; 2]| {
        let mut scratch = Scratch::default();
        let read = dialect.packets().read(frame, &mut scratch);
        read.is_ok_and(|packet| packet.command == PacketCommand::PcHeartbeat as i32)
    };
    let frame = frames.into_iter().find(is_heartbeat).unwrap();
    [&[frame.len() as u8], &frame[..]].concat()
}

#[test]
fn a_heartbeat_in_a_dialect_costs_no_allocation_and_leaves_nothing() {
    const ROUNDS: u64 = 100;
    for dialect in Dialect::all() {
        let mut harness = Harness::new(|settings| settings.session.packets_per_s = 0);
        let (mut stream, connection) = sign_in(&mut harness, dialect, 1);
        let heartbeat = heartbeat(dialect);
        let mut beat = |count: usize| {
            stream.write_all(&heartbeat.repeat(count)).unwrap();
            harness.wait_for_input(connection, heartbeat.len() * count);
            let allocations = measure(|| harness.turn()).count_total;
            assert_eq!(harness.reactor.context.metrics.published.heartbeats, count as u64, "{dialect:?}");
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
        let mut members: Vec<_> = (1..=MEMBERS).map(|device_id| sign_in(&mut harness, dialect, device_id)).collect();
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
            if !members.is_empty() && harness.reactor.context.metrics.published.frames_out == 0 {
                // A dialect that has no rooms hears nothing of them.
                return allocations;
            }
            let said: Vec<Vec<u8>> = members.iter_mut().map(|(stream, _)| readable(stream)).collect();
            assert!(said.iter().all(|one| !one.is_empty() && *one == said[0]), "{dialect:?}");
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
