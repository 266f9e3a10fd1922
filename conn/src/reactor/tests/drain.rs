//! The end of a reactor: refuse, close so many per second, wait for requests under way, end at the deadline.

use super::*;
use crate::connection::Ending;

const PER_S: u64 = 10;

/// How many are told to go.
fn told(harness: &Harness, of: usize) -> usize {
    let connections = (0..of).map(|slot| harness.reactor.table.peek(slot));
    connections.filter(|found| found.is_none_or(|connection| connection.flags.ending != Ending::None)).count()
}

#[test]
fn a_drain_keeps_to_its_rate_and_is_over_when_the_last_is_gone() {
    let mut harness = Harness::new(|settings| settings.drain.closes_per_s = PER_S);
    let mut streams: Vec<_> = (1..=30).map(|device_id| harness.sign_in(device_id).0).collect();
    harness.tell(Command::Drain);
    harness.turn();
    let at_first = told(&harness, 30);
    assert!(at_first <= 3, "{at_first}");
    harness.pass(Duration::from_secs(1));
    harness.turn();
    let after_a_second = told(&harness, 30);
    // Some time may pass besides what is made to.
    assert!((11..30).contains(&after_a_second), "{after_a_second}");
    assert!(!harness.reactor.context.drain.is_over());
    harness.pass(Duration::from_secs(2));
    harness.turn();
    assert_eq!(told(&harness, 30), 30);
    streams.clear();
    harness.turns_until(|harness| harness.reactor.context.drain.is_over());
}

#[test]
fn a_drain_waits_for_requests_under_way_until_its_deadline() {
    let settings = ConnSettings::default();
    let mut harness = Harness::new(|_| {});
    let (mut busy, connection) = harness.sign_in(1);
    busy.write_all(&frame(PacketCommand::PcSend, 5)).unwrap();
    harness.turns_until(|harness| harness.up().iter().any(|item| matches!(item, UpItem::Packet { .. })));
    harness.tell(Command::Drain);
    let goes = |harness: &Harness| harness.reactor.table.peek(connection.slot()).unwrap().flags.ending != Ending::None;
    for _ in 0..5 {
        harness.turn();
        assert!(!goes(&harness), "its request is with logic");
    }
    harness.pass(Duration::from_millis(settings.drain.timeout_ms));
    harness.turn();
    assert!(goes(&harness) && !harness.reactor.context.drain.is_over(), "it may read its goodbye");
    harness.pass(Duration::from_millis(settings.session.linger_ms));
    harness.turns_until(|harness| harness.reactor.context.drain.is_over());
}
