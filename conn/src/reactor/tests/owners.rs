//! Slots and file descriptors are used again at once: nothing of a former owner reaches the next one.

use std::os::fd::AsRawFd as _;

use super::*;

#[test]
fn a_late_reply_push_or_kick_never_reaches_the_next_owner_of_a_slot_and_a_file_descriptor() {
    let mut bench = Bench::new(|_| {});
    let descriptor = |bench: &Bench, id: ConnectionId| bench.reactor.table.peek(id.slot()).unwrap().stream.as_raw_fd();
    let deadline = Instant::now() + PATIENCE;
    // Other tests of this process may take the number in between.
    let (first_id, mut second, second_id) = loop {
        let (first, first_id) = bench.sign_in(1);
        let number = descriptor(&bench, first_id);
        drop(first);
        bench.turns_until(|bench| bench.reactor.table.is_empty());
        let (second, second_id) = bench.sign_in(2);
        if descriptor(&bench, second_id) == number {
            break (first_id, second, second_id);
        }
        assert!(Instant::now() < deadline, "numbers are used again at once");
        drop(second);
        bench.turns_until(|bench| bench.reactor.table.is_empty());
    };
    bench.up();
    assert_eq!(first_id.slot(), second_id.slot(), "the slot is used again");
    assert_ne!(first_id.generation(), second_id.generation());
    for command in [
        Command::Reply { connection: first_id, frame: Some(Encoded::of(b"late")), room_released: None },
        Command::Push(vec![PushItem { connection: first_id, seq: 9, frame: Encoded::of(b"late") }]),
        Command::Close { connection: first_id, reason: CloseReason::CrKicked, message: String::new() },
    ] {
        bench.tell(command);
    }
    bench.turn();
    assert_eq!(readable(&mut second), b"");
    assert_eq!(bench.up(), [UpItem::Gone(first_id)]);
    assert_eq!(bench.reactor.table.peek(second_id.slot()).unwrap().session.newest_seq(), 0);
}

#[test]
fn a_slot_is_not_used_again_in_the_turn_in_which_its_owner_ends() {
    let mut bench = Bench::new(|_| {});
    let (first, first_id) = bench.sign_in(1);
    first.shutdown(Shutdown::Both).unwrap();
    let _next = TcpStream::connect(bench.address).unwrap();
    bench.reactor.acceptors[0].on_ready();
    bench.reactor.close_broken(first_id.slot(), CloseReason::CrPeerClosed);
    // The events that wait are the first one's end and the next one's arrival: in one turn, or in two.
    bench.turns_until(|bench| bench.reactor.metrics.published.accepted == 1);
    let slots: Vec<usize> = (0..4096).filter(|&slot| bench.reactor.table.peek(slot).is_some()).collect();
    assert!(!slots.contains(&first_id.slot()) && slots.len() == 1, "{slots:?}");
}

#[test]
fn the_deadline_of_a_former_owner_never_reaches_the_next_owner_of_its_slot() {
    let patience = Duration::from_millis(ConnSettings::default().session.heartbeat_timeout_ms);
    let mut bench = Bench::new(|_| {});
    let (first, first_id) = bench.sign_in(1);
    bench.pass(patience - Duration::from_secs(60));
    drop(first);
    bench.turns_until(|bench| bench.reactor.table.is_empty());
    let (mut second, second_id) = bench.sign_in(2);
    assert_eq!(first_id.slot(), second_id.slot());
    assert_eq!(bench.reactor.wheel.len(), 1, "the first one's is gone");
    bench.pass(Duration::from_secs(120));
    bench.turn();
    assert_eq!(bench.reactor.table.len(), 1);
    second.write_all(&frame(PacketCommand::PcHeartbeat, 0)).unwrap();
    bench.turns_until(|_| !readable(&mut second).is_empty());
}

#[test]
fn closing_the_older_connection_of_a_device_leaves_the_newer_one_and_a_second_close_does_nothing() {
    let mut bench = Bench::new(|_| {});
    let (_older, older_id) = bench.sign_in(7);
    let (mut newer, newer_id) = bench.sign_in(7);
    bench.up();
    for _ in 0..3 {
        bench.tell(Command::Close { connection: older_id, reason: CloseReason::CrReplaced, message: String::new() });
        bench.turn();
    }
    let identity = Identity { user_id: 7, device_id: 7 };
    assert_eq!(bench.up(), [UpItem::SignOut { connection: older_id, identity }], "once, and of that connection alone");
    bench.tell(Command::PushToDevices(vec![(7, Encoded::of(b"news"))]));
    bench.turn();
    assert_eq!(readable(&mut newer), b"\x04news");
    assert!(bench.reactor.table.peek(newer_id.slot()).unwrap().session.identity().is_some());
}

#[test]
fn a_socket_that_fails_in_an_unusual_way_ends_its_connection_and_no_other() {
    let mut bench = Bench::new(|_| {});
    let (_broken, broken_id) = bench.sign_in(1);
    let (mut other, other_id) = bench.sign_in(2);
    bench.up();
    for _ in 0..2 {
        bench.reactor.fail(broken_id.slot(), &std::io::ErrorKind::TimedOut.into());
    }
    let identity = Identity { user_id: 1, device_id: 1 };
    bench.turn();
    assert_eq!(bench.up(), [UpItem::SignOut { connection: broken_id, identity }], "it ends once");
    assert_eq!(bench.reactor.table.len(), 1);
    other.write_all(&frame(PacketCommand::PcHeartbeat, 0)).unwrap();
    bench.wait_for_input(other_id, 3);
    bench.turn();
    assert!(!readable(&mut other).is_empty());
}
