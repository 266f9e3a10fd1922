//! Peers that do not read: what they cost others.

use super::*;

/// Pushes to a connection whose peer does not read until the kernel takes no more.
fn block(harness: &mut Harness, stuck: ConnectionId) {
    let frame = Encoded::of(&[7; 16 * 1024]);
    harness.turns_until(|harness| {
        harness.tell(Command::Push(vec![PushItem { connection: stuck, seq: 1, frame: frame.clone() }]));
        harness.reactor.table.peek(stuck.slot()).unwrap().flags.write_blocked
    });
    harness.turn();
}

#[test]
fn a_client_that_stops_reading_holds_up_nobody_else_in_any_push() {
    let mut harness = Harness::new(|_| {});
    let (_stuck, stuck) = harness.sign_in(1);
    let mut readers: Vec<_> = (2..=4).map(|device_id| harness.sign_in(device_id)).collect();
    let everybody: Vec<ConnectionId> = [stuck].into_iter().chain(readers.iter().map(|reader| reader.1)).collect();
    for &connection in &everybody {
        harness.tell(Command::Subscribe { connection, room_id: 5, reply: None, retained: vec![] });
    }
    harness.tell(Command::GroupMemberships { group_id: 6, joined: everybody.clone(), left: vec![] });
    block(&mut harness, stuck);
    // Hints to sync.
    readers.iter_mut().for_each(|(stream, _)| drop(readable(stream)));
    // Until its queue is full, and long after.
    for round in 0..100 {
        let frame = || Encoded::of(&[8; 8 * 1024]);
        let item = |&connection: &ConnectionId| PushItem { connection, seq: round + 2, frame: frame() };
        harness.tell(Command::Push(everybody.iter().map(item).collect()));
        harness.tell(Command::PushToRoom { room_id: 5, frame: frame(), urgent: false });
        harness.tell(Command::PushToGroup { group_id: 6, seq: round + 1, origin_device_id: 0, frame: frame() });
        harness.tell(Command::PushToAll { message_id: round, frame: frame() });
        harness.turn();
        let length = frame().length_value().len();
        let mut missing: Vec<usize> = vec![4 * length; readers.len()];
        // A push to all is spread over time by its setting; the others are there at once.
        for (missing, (stream, _)) in missing.iter_mut().zip(&mut readers) {
            *missing -= readable(stream).len();
            assert!(*missing <= length, "round {round}");
        }
        harness.turns_until(|_| {
            for (missing, (stream, _)) in missing.iter_mut().zip(&mut readers) {
                *missing -= readable(stream).len();
            }
            missing.iter().all(|missing| *missing == 0)
        });
    }
    let queued = harness.reactor.table.peek(stuck.slot()).unwrap().outbound.as_ref().unwrap().queued_bytes();
    assert!(queued <= ConnSettings::default().limits.outbound_hard_bytes, "{queued}");
}

#[test]
fn a_member_who_does_not_read_costs_neither_a_write_nor_a_turn_per_push() {
    const PUSHES: u64 = 50;
    let mut harness = Harness::new(|_| {});
    let (_stuck, stuck_id) = harness.sign_in(1);
    let (mut reader, reader_id) = harness.sign_in(2);
    for connection in [stuck_id, reader_id] {
        harness.tell(Command::Subscribe { connection, room_id: 5, reply: None, retained: vec![] });
    }
    let news = Encoded::of(&[7; 16 * 1024]);
    let is_blocked = |harness: &Harness| harness.reactor.table.peek(stuck_id.slot()).unwrap().flags.write_blocked;
    harness.turns_until(|harness| {
        harness.tell(Command::PushToRoom { room_id: 5, frame: news.clone(), urgent: false });
        readable(&mut reader);
        is_blocked(harness)
    });
    harness.turn();
    readable(&mut reader);

    for _ in 0..PUSHES {
        harness.tell(Command::PushToRoom { room_id: 5, frame: news.clone(), urgent: false });
        harness.turn();
        assert_eq!(harness.reactor.context.metrics.published.writes, 1, "the reader's");
        assert!(!readable(&mut reader).is_empty(), "who reads has it at once");
        assert!(
            is_blocked(&harness)
                && harness.reactor.context.writer.dirty.is_empty()
                && harness.reactor.context.reader.runnable.is_empty()
        );
        assert!(harness.reactor.patience() > Duration::ZERO, "nothing is left for a turn of its own");
    }
    let outbound = harness.reactor.table.peek(stuck_id.slot()).unwrap().outbound.as_ref().unwrap();
    assert!(outbound.queued_bytes() <= ConnSettings::default().limits.outbound_hard_bytes);
}

#[test]
fn the_kernel_forgets_what_a_closed_peer_does_not_take_in_time() {
    let mut harness = Harness::new(|_| {});
    let (mut stuck, connection) = harness.sign_in(1);
    block(&mut harness, connection);
    harness.tell(Command::Close { connection, reason: CloseReason::CrSlowConsumer, message: String::new() });
    harness.turn();
    assert_eq!(harness.reactor.table.len(), 1, "it may still read why");
    harness.pass(Duration::from_millis(ConnSettings::default().session.linger_ms));
    harness.turns_until(|harness| harness.reactor.table.is_empty());
    let mut taken = Vec::new();
    let end = stuck.read_to_end(&mut taken).unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset, "nothing is kept for it");
}

#[test]
fn a_paused_peer_that_is_closed_can_send_the_rest_and_read_why() {
    let mut harness = Harness::new(|settings| {
        settings.session.in_flight_max = 1;
        settings.session.linger_ms = 7_200_000;
    });
    let (mut stream, connection) = harness.sign_in(1);
    // Once the first request is under way nothing more is read, and no event comes while the peer sends nothing.
    let read_at_most = harness.reactor.context.reader.scratch.len();
    let requests = vec![frame(PacketCommand::PcSend, 60_000); 2].concat();
    stream.write_all(&requests).unwrap();
    harness.turns_until(|harness| !harness.up().is_empty());
    harness.wait_for_input(connection, requests.len() - read_at_most);
    block(&mut harness, connection);
    harness.turn();
    let has_input = |harness: &Harness| {
        let stream = &harness.reactor.table.peek(connection.slot()).unwrap().stream;
        stream.peek(&mut [0]).is_ok()
    };
    assert!(has_input(&harness));

    harness.tell(Command::Close { connection, reason: CloseReason::CrKicked, message: String::new() });
    let turns = harness.turns_until(|harness| !has_input(harness));
    assert!(turns <= 2 + requests.len() / read_at_most, "{turns} turns");
    let read = harness.read_to_end(&mut stream);
    let goodbye = packet::goodbye(CloseReason::CrKicked, "", 0, "").length_value();
    assert!(read.ends_with(&goodbye));
}

#[test]
fn the_log_tells_of_a_slow_client_which_bound_it_met_and_where_it_is() {
    let mut log = tempfile::tempfile().unwrap();
    let writer = std::sync::Arc::new(log.try_clone().unwrap());
    let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
    let mut harness = Harness::new(|_| {});
    let (stuck, connection) = harness.sign_in(1);
    let record = |harness: &Harness| harness.reactor.table.peek(connection.slot()).map(|peer| peer.congested_since_ms);
    harness.turns_until(|harness| {
        let frame = Encoded::of(&[7; 16 * 1024]);
        harness.tell(Command::Push(vec![PushItem { connection, seq: 1, frame }]));
        record(harness).flatten().is_some()
    });
    harness.pass(Duration::from_millis(ConnSettings::default().limits.outbound_soft_timeout_ms) + OVER_A_TICK);
    tracing::subscriber::with_default(subscriber, || {
        harness.turns_until(|harness| record(harness).flatten().is_none());
    });
    let mut said = String::new();
    std::io::Seek::rewind(&mut log).unwrap();
    log.read_to_string(&mut said).unwrap();
    let peer = format!("peer={}", stuck.local_addr().unwrap());
    for part in ["reason=\"slow_consumer\"", &peer, "bound=\"limits.outbound_soft_timeout_ms\"", "waiting_bytes="] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn what_may_wait_for_a_client_changes_while_it_is_there() {
    let mut harness = Harness::new(|_| {});
    let (_stuck, connection) = harness.sign_in(1);
    block(&mut harness, connection);
    let mut settings = ConnSettings::default();
    (settings.limits.outbound_hard_bytes, settings.limits.outbound_soft_bytes) = (20 * 1024, 20 * 1024);
    let (rules, outbound) = (settings.rules(), settings.limits.outbound());
    harness.tell(Command::Rules { rules, outbound, origins: Vec::new() });
    for seq in 2..10 {
        let frame = Encoded::of(&[7; 8 * 1024]);
        harness.tell(Command::Push(vec![PushItem { connection, seq, frame }]));
        harness.turn();
    }
    let queued = harness.reactor.table.peek(connection.slot()).unwrap().outbound.as_ref().unwrap().queued_bytes();
    assert!(queued < 64 * 1024, "{queued}");
}
