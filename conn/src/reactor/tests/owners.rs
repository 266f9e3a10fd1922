//! Slots and file descriptors are used again at once: nothing of a former owner reaches the next one.

use std::os::fd::AsRawFd as _;

use super::*;

#[test]
fn a_late_reply_push_or_kick_never_reaches_the_next_owner_of_a_slot() {
    let mut harness = Harness::new(|_| {});
    let descriptor =
        |harness: &Harness, id: ConnectionId| harness.reactor.table.peek(id.slot()).unwrap().stream.as_raw_fd();
    let deadline = Instant::now() + PATIENCE;
    // Other tests of this process may take the number in between.
    let (first_id, mut second, second_id) = loop {
        let (first, first_id) = harness.sign_in(1);
        let number = descriptor(&harness, first_id);
        drop(first);
        harness.turns_until(|harness| harness.reactor.table.is_empty());
        let (second, second_id) = harness.sign_in(2);
        if descriptor(&harness, second_id) == number {
            break (first_id, second, second_id);
        }
        assert!(Instant::now() < deadline, "numbers are used again at once");
        drop(second);
        harness.turns_until(|harness| harness.reactor.table.is_empty());
    };
    harness.up();
    assert_eq!(first_id.slot(), second_id.slot(), "the slot is used again");
    assert_ne!(first_id.generation(), second_id.generation());
    for command in [
        Command::Reply { connection: first_id, frame: Some(Encoded::of(b"late")), room_released: None, inbox_seq: 0 },
        Command::Push(vec![PushItem { connection: first_id, seq: 9, frame: Encoded::of(b"late") }]),
        Command::Close { connection: first_id, reason: CloseReason::CrKicked, message: String::new() },
    ] {
        harness.tell(command);
    }
    harness.turn();
    assert_eq!(readable(&mut second), b"");
    assert_eq!(harness.up(), [UpItem::Gone(first_id)]);
    assert_eq!(harness.reactor.table.peek(second_id.slot()).unwrap().session.newest_seq(), 0);
}

#[test]
fn a_slot_is_not_used_again_in_the_turn_in_which_its_owner_ends() {
    let mut harness = Harness::new(|_| {});
    let (first, first_id) = harness.sign_in(1);
    first.shutdown(Shutdown::Both).unwrap();
    let _next = TcpStream::connect(harness.address).unwrap();
    harness.reactor.acceptors[0].on_ready();
    harness.reactor.peer(first_id.slot()).unwrap().close_broken(CloseReason::CrPeerClosed);
    // The events that wait are the first one's end and the next one's arrival: in one turn, or in two.
    harness.turns_until(|harness| harness.reactor.context.metrics.published.accepted == 1);
    let slots: Vec<usize> = (0..4096).filter(|&slot| harness.reactor.table.peek(slot).is_some()).collect();
    assert!(!slots.contains(&first_id.slot()) && slots.len() == 1, "{slots:?}");
}

#[test]
fn the_deadline_of_a_former_owner_never_reaches_the_next_one() {
    let patience = Duration::from_millis(ConnSettings::default().session.heartbeat_timeout_ms);
    let mut harness = Harness::new(|_| {});
    let (first, first_id) = harness.sign_in(1);
    harness.pass(patience - Duration::from_secs(60));
    drop(first);
    harness.turns_until(|harness| harness.reactor.table.is_empty());
    let (mut second, second_id) = harness.sign_in(2);
    assert_eq!(first_id.slot(), second_id.slot());
    assert_eq!(harness.reactor.context.wheel.len(), 1, "the first one's is gone");
    harness.pass(Duration::from_secs(120));
    harness.turn();
    assert_eq!(harness.reactor.table.len(), 1);
    second.write_all(&frame(PacketCommand::PcHeartbeat, 0)).unwrap();
    harness.turns_until(|_| !readable(&mut second).is_empty());
}

#[test]
fn closing_the_older_connection_of_a_device_leaves_the_newer_one() {
    let mut harness = Harness::new(|_| {});
    let (_older, older_id) = harness.sign_in(7);
    let (mut newer, newer_id) = harness.sign_in(7);
    harness.up();
    for _ in 0..3 {
        harness.tell(Command::Close { connection: older_id, reason: CloseReason::CrReplaced, message: String::new() });
        harness.turn();
    }
    let identity = Identity { user_id: 7, device_id: 7 };
    assert_eq!(
        harness.up(),
        [UpItem::SignOut { connection: older_id, identity }],
        "once, and of that connection alone"
    );
    harness.tell(push_to_devices(7, b"news"));
    harness.turn();
    assert_eq!(readable(&mut newer), b"\x04news");
    assert!(harness.reactor.table.peek(newer_id.slot()).unwrap().session.identity().is_some());
}

#[test]
fn a_socket_that_fails_unusually_ends_its_connection_and_no_other() {
    let mut harness = Harness::new(|_| {});
    let (_broken, broken_id) = harness.sign_in(1);
    let (mut other, other_id) = harness.sign_in(2);
    harness.up();
    for _ in 0..2 {
        harness.reactor.peer(broken_id.slot()).unwrap().fail(&std::io::ErrorKind::TimedOut.into());
    }
    let identity = Identity { user_id: 1, device_id: 1 };
    harness.turn();
    assert_eq!(harness.up(), [UpItem::SignOut { connection: broken_id, identity }], "it ends once");
    assert_eq!(harness.reactor.table.len(), 1);
    other.write_all(&frame(PacketCommand::PcHeartbeat, 0)).unwrap();
    harness.wait_for_input(other_id, 3);
    harness.turn();
    assert!(!readable(&mut other).is_empty());
}
