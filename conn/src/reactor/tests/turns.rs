//! The budgets of a turn, and what one connection gets of it.

use super::*;
use crate::connection::Ending;

#[test]
fn a_turn_accepts_its_budget_and_the_rest_without_another_event() {
    let mut harness = Harness::new(|settings| settings.turn.accepts = 3);
    let streams: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(harness.address).unwrap()).collect();
    let mut before = 0;
    harness.turns_until(|harness| {
        let count = harness.reactor.table.len();
        assert!(count - before <= 3, "{before} and then {count}");
        before = count;
        count == streams.len()
    });
}

#[test]
fn a_turn_takes_its_budget_of_commands_and_the_rest_without_a_wake() {
    let mut harness = Harness::new(|settings| settings.turn.commands = 2);
    let (_stream, connection) = harness.sign_in(1);
    for seq in 1..=5 {
        let frame = Encoded::of(b"x");
        harness.tell(Command::Push(vec![PushItem { connection, seq, frame }]));
    }
    harness.wake.wake().unwrap();
    for expected in [2, 4, 5] {
        harness.reactor.turn(&mut harness.events).unwrap();
        assert_eq!(harness.reactor.table.peek(connection.slot()).unwrap().session.newest_seq(), expected);
    }
}

#[test]
fn deadlines_beyond_a_turns_budget_are_met_without_sleeping() {
    let mut harness = Harness::new(|settings| settings.turn.timers = 2);
    let _streams: Vec<TcpStream> = (0..6).map(|_| harness.connect()).collect();
    harness.pass(Duration::from_millis(ConnSettings::default().session.sign_in_timeout_ms + 1_000));
    let waiting = |harness: &Harness| {
        let connections = (0..6).filter_map(|slot| harness.reactor.table.peek(slot));
        connections.filter(|connection| connection.flags.ending == Ending::None).count()
    };
    for left in [4, 2, 0] {
        harness.turn();
        assert_eq!(waiting(&harness), left);
        assert!(left == 0 || harness.reactor.patience().is_zero(), "with {left} left");
    }
    harness.turn();
    assert!(!harness.reactor.patience().is_zero());
}

#[test]
fn a_loud_peer_gets_its_share_of_a_turn_and_its_neighbour_too() {
    let mut harness = Harness::new(|settings| settings.turn.read_frames = 4);
    let (mut loud, loud_id) = harness.sign_in(1);
    let (mut quiet, quiet_id) = harness.sign_in(2);
    let heartbeat = frame(PacketCommand::PcHeartbeat, 0);
    loud.write_all(&heartbeat.repeat(40)).unwrap();
    harness.wait_for_input(loud_id, 40 * heartbeat.len());
    quiet.write_all(&heartbeat).unwrap();
    harness.wait_for_input(quiet_id, heartbeat.len());
    harness.turn();
    let answers = |stream: &mut TcpStream| readable(stream).len() / heartbeat.len();
    let (first, neighbour) = (answers(&mut loud), answers(&mut quiet));
    assert!((1..=8).contains(&first), "{first}");
    assert_eq!(neighbour, 1);
    let mut all = first;
    harness.turns_until(|_| {
        let more = answers(&mut loud);
        assert!(more <= 4, "{more}");
        all += more;
        all == 40
    });
}

#[test]
fn a_turn_writes_no_more_to_one_connection_than_its_budget() {
    const BUDGET: usize = 64 * 1024;
    let mut harness = Harness::new(|settings| {
        settings.turn.write_bytes = BUDGET;
        settings.limits.outbound_hard_bytes = 4 << 20;
    });
    let (mut stream, connection) = harness.sign_in(1);
    let frame = Encoded::of(&[7; 16 * 1024]);
    let length = frame.clone().length_value().len();
    let items = (1..=64).map(|seq| PushItem { connection, seq, frame: frame.clone() }).collect();
    harness.tell(Command::Push(items));
    let mut all = 0;
    harness.turns_until(|_| {
        let count = readable(&mut stream).len();
        // A call may take all of one vector of slices.
        assert!(count <= BUDGET + 64 * length, "{count}");
        all += count;
        all == 64 * length
    });
}

#[test]
fn a_turn_serves_no_more_connections_that_were_left_over_than_fresh_ones() {
    const PEERS: usize = 12;
    const FRAMES: usize = 10;
    let mut harness = Harness::new(|settings| {
        settings.turn.events = 4;
        settings.turn.read_frames = 1;
    });
    let heartbeat = frame(PacketCommand::PcHeartbeat, 0);
    let mut peers: Vec<_> = (0..PEERS).map(|number| harness.sign_in(number as u64 + 1)).collect();
    for (stream, connection) in &mut peers {
        stream.write_all(&heartbeat.repeat(FRAMES)).unwrap();
        harness.wait_for_input(*connection, FRAMES * heartbeat.len());
    }
    let mut answered = 0;
    harness.turns_until(|harness| {
        let packets = harness.reactor.context.metrics.published.packets_in;
        assert!(packets <= 2 * 4, "{packets} in one turn");
        answered += packets as usize;
        answered == PEERS * FRAMES
    });
    for (stream, _) in &mut peers {
        assert_eq!(readable(stream).len(), FRAMES * heartbeat.len());
    }
}

#[test]
fn a_turn_hands_on_its_budget_of_a_long_burst_to_a_room() {
    const BURST: u64 = 100;
    let mut harness = Harness::new(|settings| settings.turn.deliveries = 150);
    let mut members: Vec<_> = (1..=5).map(|device_id| harness.sign_in(device_id)).collect();
    for (_, connection) in &members {
        harness.tell(Command::Subscribe { connection: *connection, room_id: 5, reply: None, retained: vec![] });
    }
    for _ in 0..BURST {
        harness.tell(Command::PushToRoom { room_id: 5, frame: Encoded::of(b"news"), urgent: false });
    }
    for reached in [2, 4, 5] {
        harness.turn();
        assert_eq!(harness.reactor.context.apps[0].rooms.is_active(), reached < 5);
        assert!(harness.reactor.context.metrics.published.frames_out <= 2 * BURST);
        assert_eq!(harness.reactor.patience().is_zero(), reached < 5);
    }
    members.iter_mut().for_each(|(stream, _)| assert_eq!(readable(stream), b"\x04news".repeat(100)));
}

#[test]
fn accepting_pauses_when_files_run_out_and_goes_on_without_another_event() {
    let mut harness = Harness::new(|_| {});
    let _first = harness.connect();
    let waiting = TcpStream::connect(harness.address).unwrap();
    harness.reactor.acceptors[0].on_ready();
    harness.reactor.pause_accepting(0, &std::io::ErrorKind::StorageFull.into());
    harness.turn();
    assert_eq!(harness.reactor.context.metrics.published.accept_pauses, 1);
    assert_eq!(harness.reactor.table.len(), 1, "it pauses");
    assert!(harness.reactor.patience() <= Duration::from_millis(ConnSettings::default().turn.accept_pause_ms));
    harness.pass(Duration::from_millis(ConnSettings::default().turn.accept_pause_ms));
    harness.turn();
    assert_eq!(harness.reactor.table.len(), 2);
    drop(waiting);
}

#[test]
fn who_has_not_signed_in_yet_makes_the_server_keep_no_more_than_a_frame() {
    let mut harness = Harness::new(|settings| settings.turn.read_frames = 100_000);
    let mut stream = harness.connect();
    let heartbeat = frame(PacketCommand::PcHeartbeat, 0);
    let bytes = [sign_in_frame(0), heartbeat.repeat(10_000)].concat();
    stream.write_all(&bytes).unwrap();
    let mut asked = None;
    harness.turns_until(|harness| {
        asked = harness.up().into_iter().find_map(|item| match item {
            UpItem::SignIn { connection, .. } => Some(connection),
            _ => None,
        });
        asked.is_some()
    });
    let connection = asked.unwrap();
    harness.wait_for_input(connection, 10_000);
    harness.turn();
    let kept = harness.reactor.table.peek(connection.slot()).unwrap().intake.tail_bytes();
    assert!(kept <= ConnSettings::default().limits.unsigned_frame_bytes_max, "{kept}");
}

#[test]
fn every_connection_is_watched_by_the_kernel_as_the_settings_say() {
    let mut harness = Harness::new(|settings| {
        settings.tcp.keepalive_s = 77;
        settings.tcp.user_timeout_ms = 12_345;
        settings.tcp.send_buffer_bytes = 32 << 10;
    });
    let (_stream, connection) = harness.sign_in(1);
    let socket = socket2::SockRef::from(&harness.reactor.table.peek(connection.slot()).unwrap().stream);
    assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_millis(12_345)));
    assert_eq!(socket.send_buffer_size().unwrap(), 64 << 10, "and as much for the kernel's own records");
}

#[test]
fn a_turn_pushes_its_budget_of_deliveries_whatever_the_commands() {
    let mut harness = Harness::new(|settings| settings.turn.deliveries = 20);
    let (mut stream, connection) = harness.sign_in(1);
    for _ in 0..6 {
        let item = || PushItem { connection, seq: 1, frame: Encoded::of(b"!") };
        harness.tell(Command::Push((0..10).map(|_| item()).collect()));
    }
    harness.wake.wake().unwrap();
    for _ in 0..3 {
        harness.reactor.turn(&mut harness.events).unwrap();
        assert_eq!(harness.reactor.context.metrics.published.frames_out, 20);
    }
    assert_eq!(readable(&mut stream), b"\x01!".repeat(60));
}

#[test]
fn rooms_groups_and_pushes_to_all_share_the_deliveries_of_a_turn() {
    const PEERS: usize = 40;
    const BUDGET: usize = 30;
    const KINDS: [&[u8; 1]; 3] = [b"r", b"g", b"a"];
    let mut harness = Harness::new(|settings| {
        settings.turn.deliveries = BUDGET;
        settings.push_all.connections_per_s = 1_000_000;
    });
    let mut peers: Vec<_> = (1..=PEERS as u64).map(|device_id| harness.sign_in(device_id)).collect();
    let joined: Vec<ConnectionId> = peers.iter().map(|(_, connection)| *connection).collect();
    for &connection in &joined {
        harness.tell(Command::Subscribe { connection, room_id: 5, reply: None, retained: vec![] });
    }
    harness.tell(Command::GroupMemberships { group_id: 6, joined, left: vec![] });
    harness.turn();
    peers.iter_mut().for_each(|(stream, _)| assert!(!readable(stream).is_empty(), "a hint to sync"));

    let [room, group, all] = KINDS.map(|kind| Encoded::of(kind));
    harness.tell(Command::PushToRoom { room_id: 5, frame: room, urgent: false });
    harness.tell(Command::PushToGroup { group_id: 6, seq: 1, origin_device_id: 0, frame: group });
    harness.tell(Command::PushToAll { message_id: 1, frame: all });
    harness.pass(Duration::from_secs(1));
    let mut delivered = [0; KINDS.len()];
    let mut turns = 0;
    while delivered != [PEERS; KINDS.len()] {
        let before = delivered;
        harness.turn();
        turns += 1;
        let read: Vec<u8> = peers.iter_mut().flat_map(|(stream, _)| readable(stream)).collect();
        for (delivered, kind) in delivered.iter_mut().zip(KINDS) {
            *delivered += read.iter().filter(|byte| *byte == &kind[0]).count();
        }
        let in_this_turn = delivered.iter().sum::<usize>() - before.iter().sum::<usize>();
        assert!(in_this_turn <= BUDGET, "{before:?} and then {delivered:?}");
        for (before, after) in before.into_iter().zip(delivered) {
            assert!(after >= PEERS.min(before + BUDGET / KINDS.len()), "each gets its part: {before} and then {after}");
        }
        assert!(turns < PEERS, "{delivered:?}");
    }
}
