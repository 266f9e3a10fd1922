//! The end of a reactor: refuse, close so many per second, wait for requests under way, end at the deadline.

use super::*;
use crate::connection::Ending;

const PER_S: u64 = 10;

/// How many are told to go.
fn told(bench: &Bench, of: usize) -> usize {
    let connections = (0..of).map(|slot| bench.reactor.table.peek(slot));
    connections.filter(|found| found.is_none_or(|connection| connection.flags.ending != Ending::None)).count()
}

#[test]
fn a_drain_closes_no_more_connections_than_its_rate_and_is_over_when_the_last_is_gone() {
    let mut bench = Bench::new(|settings| settings.drain.closes_per_s = PER_S);
    let mut streams: Vec<_> = (1..=30).map(|device_id| bench.sign_in(device_id).0).collect();
    bench.tell(Command::Drain);
    bench.turn();
    let at_first = told(&bench, 30);
    assert!(at_first <= 3, "{at_first}");
    bench.pass(Duration::from_secs(1));
    bench.turn();
    let after_a_second = told(&bench, 30);
    // Some time may pass besides what is made to.
    assert!((11..30).contains(&after_a_second), "{after_a_second}");
    assert!(!bench.reactor.drain.is_over());
    bench.pass(Duration::from_secs(2));
    bench.turn();
    assert_eq!(told(&bench, 30), 30);
    streams.clear();
    bench.turns_until(|bench| bench.reactor.drain.is_over());
}

#[test]
fn a_drain_waits_for_requests_under_way_until_its_deadline_and_then_ends_whoever_is_left() {
    let settings = ConnSettings::default();
    let mut bench = Bench::new(|_| {});
    let (mut busy, connection) = bench.sign_in(1);
    busy.write_all(&frame(PacketCommand::PcSend, 5)).unwrap();
    bench.turns_until(|bench| bench.up().iter().any(|item| matches!(item, UpItem::Packet { .. })));
    bench.tell(Command::Drain);
    let goes = |bench: &Bench| bench.reactor.table.peek(connection.slot()).unwrap().flags.ending != Ending::None;
    for _ in 0..5 {
        bench.turn();
        assert!(!goes(&bench), "its request is with logic");
    }
    bench.pass(Duration::from_millis(settings.drain.timeout_ms));
    bench.turn();
    assert!(goes(&bench) && !bench.reactor.drain.is_over(), "it may read its goodbye");
    bench.pass(Duration::from_millis(settings.session.linger_ms));
    bench.turns_until(|bench| bench.reactor.drain.is_over());
}
