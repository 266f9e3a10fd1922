//! What a reactor takes from the allocator, counted: nothing per packet, and nothing that stays when connections are gone.

use allocation_counter::measure;

use super::*;

/// Packets of one read.
const BURST: usize = 32;
const ROUNDS: usize = 100;

/// How many allocations the turns cost that serve `count` packets each; what comes before and after is not counted.
fn serving(harness: &mut Harness, peer: &mut (TcpStream, ConnectionId), packet: &[u8], count: usize) -> u64 {
    let mut allocations = 0;
    for _ in 0..ROUNDS {
        peer.0.write_all(&packet.repeat(count)).unwrap();
        harness.wait_for_input(peer.1, packet.len() * count);
        allocations += measure(|| harness.turn()).count_total;
        assert_eq!(harness.reactor.context.metrics.published.packets_in, count as u64);
        for item in harness.up() {
            if let UpItem::Packet { connection, .. } = item {
                harness.tell(Command::Reply { connection, frame: None, room_released: None, inbox_seq: 0 });
            }
        }
        harness.turn();
        readable(&mut peer.0);
    }
    allocations
}

#[test]
fn no_packet_costs_an_allocation() {
    for (command, content_bytes) in [(PacketCommand::PcHeartbeat, 0), (PacketCommand::PcSend, 100)] {
        let mut harness = Harness::new(|settings| {
            settings.session.packets_per_s = 0;
            settings.session.in_flight_max = 2 * BURST as u16;
        });
        let mut peer = harness.sign_in(1);
        let packet = frame(command, content_bytes);
        serving(&mut harness, &mut peer, &packet, BURST);
        let (one, many) =
            (serving(&mut harness, &mut peer, &packet, 1), serving(&mut harness, &mut peer, &packet, BURST));
        println!("{command:?}: {one} allocations in {ROUNDS} turns of one, {many} in as many of {BURST}");
        assert!(one <= 3 * ROUNDS as u64, "{one}");
        assert!(many <= one + ROUNDS as u64, "{one} in turns of one packet, {many} in turns of {BURST}");
    }
}

#[test]
fn a_heartbeat_costs_one_look_up_of_its_slot_and_one_for_its_answer() {
    let mut harness = Harness::new(|_| {});
    let (mut stream, connection) = harness.sign_in(1);
    let heartbeats = frame(PacketCommand::PcHeartbeat, 0).repeat(BURST / 2);
    for packets in [1, BURST / 2] {
        let bytes = heartbeats.len() * packets / (BURST / 2);
        stream.write_all(&heartbeats[..bytes]).unwrap();
        harness.wait_for_input(connection, bytes);
        let before = harness.reactor.table.look_ups;
        harness.turn();
        assert_eq!(harness.reactor.context.metrics.published.packets_in, packets as u64);
        assert_eq!(harness.reactor.table.look_ups - before, 2, "with {packets} packets");
        readable(&mut stream);
    }
}

#[test]
fn no_member_of_a_room_costs_an_allocation_per_push() {
    let mut harness = Harness::new(|_| {});
    let mut members: Vec<_> = (1..=50).map(|device_id| harness.sign_in(device_id)).collect();
    for (_, connection) in &members {
        harness.tell(Command::Subscribe { connection: *connection, room_id: 5, reply: None, retained: vec![] });
    }
    let mut push = || {
        harness.tell(Command::PushToRoom { room_id: 5, frame: Encoded::of(b"news"), urgent: false });
        let allocations = measure(|| harness.turn()).count_total;
        assert_eq!(harness.reactor.context.metrics.published.frames_out, 50);
        members.iter_mut().for_each(|(stream, _)| assert_eq!(readable(stream).len(), 5));
        allocations
    };
    push();
    for _ in 0..20 {
        let allocations = push();
        assert!(allocations <= 2, "{allocations}");
    }
}

/// Devices sign in, join a room and a large group, say something, and are gone.
fn come_and_go(harness: &mut Harness, rounds: usize, clients: u64) {
    for round in 0..rounds as u64 {
        let peers: Vec<_> = (1..=clients).map(|device_id| harness.sign_in(device_id)).collect();
        for (stream, connection) in &peers {
            let connection = *connection;
            harness.tell(Command::Subscribe { connection, room_id: round, reply: None, retained: vec![] });
            harness.tell(Command::GroupMemberships { group_id: 50 + round, joined: vec![connection], left: vec![] });
            // Without this, each would keep its port for a minute.
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        harness.tell(Command::PushToRoom { room_id: round, frame: Encoded::of(b"news"), urgent: false });
        harness.turn();
        drop(peers);
        harness.turns_until(|harness| harness.reactor.table.is_empty());
        harness.up();
    }
}

#[test]
fn ten_thousand_connects_and_disconnects_leave_nothing_behind() {
    let mut harness = Harness::new(|_| {});
    come_and_go(&mut harness, 20, 50);
    let left = measure(|| come_and_go(&mut harness, 200, 50));
    let reactor = &harness.reactor;
    assert_eq!(
        (reactor.table.slots_end(), reactor.context.wheel.len(), reactor.context.apps[0].rooms.len()),
        (4096, 0, 0)
    );
    assert_eq!((reactor.context.apps[0].signed_in, reactor.context.apps[0].devices.len()), (0, 0));
    assert!(!reactor.context.apps[0].groups.is_active() && reactor.context.apps[0].groups.of(0).is_empty());
    assert_eq!((reactor.context.quota.usage().0, reactor.context.handshakes.under_way()), (0, 0));
    assert!(
        reactor.context.writer.dirty.is_empty()
            && reactor.context.reader.runnable.is_empty()
            && reactor.context.dead.is_empty()
    );
    assert!(left.bytes_current <= 0, "{} bytes in {} pieces", left.bytes_current, left.count_current);
}
