//! Every reason for an end: the goodbye, the log line and the metric that the one table of reasons promises.

use std::{cell::RefCell, sync::Once};

use gim_proto::connect::CloseNotice;
use metrics_exporter_prometheus::PrometheusBuilder;
use tracing_subscriber::{
    filter::{LevelFilter, dynamic_filter_fn},
    fmt,
    layer::{Layer as _, SubscriberExt as _},
};

use super::*;

/// Provokes an end for `reason`; returns the peer's side.
fn provoke(reason: CloseReason, harness: &mut Harness) -> TcpStream {
    let hour = Duration::from_secs(3600);
    match reason {
        CloseReason::CrSignInDeadline => {
            let stream = harness.connect();
            harness.pass(hour);
            stream
        }
        CloseReason::CrHeartbeatTimeout => {
            let (stream, _) = harness.sign_in(1);
            harness.pass(hour);
            stream
        }
        CloseReason::CrBadFrame => said(harness, &[0xff; 10]),
        CloseReason::CrFrameTooLarge => said(harness, &[0xff, 0xff, 0x7f]),
        CloseReason::CrRateLimited => said(harness, &frame(PacketCommand::PcHeartbeat, 0).repeat(10)),
        CloseReason::CrReplaced | CloseReason::CrKicked | CloseReason::CrTokenRevoked => {
            let (stream, connection) = harness.sign_in(1);
            harness.tell(Command::Close { connection, reason, message: String::new() });
            stream
        }
        CloseReason::CrSlowConsumer => {
            let (stream, connection) = harness.sign_in(1);
            let record = |harness: &Harness| harness.reactor.table.peek(connection.slot()).unwrap().congested_since_ms;
            harness.turns_until(|harness| {
                let frame = packet::notice(PacketCommand::PcMessage, &[7; 16 * 1024], 0);
                harness.tell(Command::Push(vec![PushItem { connection, seq: 1, frame }]));
                record(harness).is_some()
            });
            // By more than the wheel rounds up: at the next turn the peer reads, and the queue is not full any more.
            harness.pass(Duration::from_millis(ConnSettings::default().limits.outbound_soft_timeout_ms) + OVER_A_TICK);
            stream
        }
        CloseReason::CrServerDraining => {
            let (stream, _) = harness.sign_in(1);
            harness.tell(Command::Drain);
            stream
        }
        CloseReason::CrServerOverloaded => {
            harness.reactor.context.quota = Arc::new(Quota::new(0, 0));
            TcpStream::connect(harness.address).unwrap()
        }
        CloseReason::CrAddressFull => {
            let quota = Quota::new(10, 1);
            quota.take(harness.address.ip()).unwrap();
            harness.reactor.context.quota = Arc::new(quota);
            TcpStream::connect(harness.address).unwrap()
        }
        CloseReason::CrPeerClosed => {
            let (stream, _) = harness.sign_in(1);
            stream.shutdown(Shutdown::Write).unwrap();
            stream
        }
        CloseReason::CrIoError => {
            let (stream, connection) = harness.sign_in(1);
            harness.reactor.peer(connection.slot()).unwrap().fail(&std::io::ErrorKind::HostUnreachable.into());
            stream
        }
        CloseReason::CrUnknown => unreachable!("no connection ends for it"),
    }
}

fn said(harness: &mut Harness, bytes: &[u8]) -> TcpStream {
    let (mut stream, _) = harness.sign_in(1);
    stream.write_all(bytes).unwrap();
    stream
}

/// The last packet, if it is a CLOSE.
fn goodbye(mut bytes: &[u8]) -> Option<CloseNotice> {
    let mut last = Packet::default();
    while !bytes.is_empty() {
        last = Packet::decode_length_delimited(&mut bytes).unwrap();
    }
    (last.command == PacketCommand::PcClose as i32).then(|| CloseNotice::decode(last.content).unwrap())
}

#[test]
fn every_reason_has_the_goodbye_log_level_and_metric_of_the_table() {
    for reason in CloseReason::ALL {
        let (rule, recorder) = (reason.rule(), PrometheusBuilder::new().build_recorder());
        let (read, log) = logged(|| {
            metrics::with_local_recorder(&recorder, || {
                let mut harness = Harness::new(|settings| {
                    settings.session.packets_burst = 2;
                    settings.session.packets_per_s = 1;
                    settings.session.linger_ms = 7_200_000;
                });
                harness.pass(Duration::from_secs(60));
                let mut stream = provoke(reason, &mut harness);
                harness.read_to_end(&mut stream)
            })
        });
        let told = goodbye(&read).map(|notice| (notice.reason(), notice.message));
        assert_eq!(told, rule.says_goodbye.then(|| (reason, rule.text.to_owned())), "{}", rule.label);

        let ends: Vec<&str> = log.lines().filter(|line| line.contains(&format!("reason=\"{}\"", rule.label))).collect();
        let level = if rule.is_notable { " WARN " } else { " DEBUG " };
        assert!(matches!(ends[..], [line] if line.contains(level)), "{}: {log}", rule.label);

        let line = format!("conn_closed_total{{reactor=\"0\",reason=\"{}\"}} 1", rule.label);
        let page = recorder.handle().render();
        assert!(page.contains(&line), "{line}: {page}");
        let others = page.lines().filter(|line| line.starts_with("conn_closed_total{") && !line.ends_with(" 0"));
        assert_eq!(others.count(), 1, "{page}");
    }
}

#[test]
fn a_first_frame_that_comes_a_byte_a_second_ends_at_the_sign_in_deadline() {
    let mut harness = Harness::new(|_| {});
    let mut slow = harness.connect();
    // The first eight bytes of a frame of a hundred.
    for byte in [100, 8, 1, 26, 96, 0, 0, 0] {
        slow.write_all(&[byte]).unwrap();
        harness.turn();
        harness.pass(Duration::from_secs(1));
    }
    assert_eq!(harness.reactor.table.len(), 1, "it has two seconds left");
    harness.pass(Duration::from_secs(3));
    let read = harness.read_to_end(&mut slow);
    assert_eq!(goodbye(&read).map(|notice| notice.reason()), Some(CloseReason::CrSignInDeadline));
}

thread_local! {
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// What this thread logs meanwhile. By one subscriber for the process: one that is set for a thread misses lines that other
/// threads come by for the first time.
fn logged<T>(act: impl FnOnce() -> T) -> (T, String) {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let of_this =
            dynamic_filter_fn(|_, _| LOG.with_borrow(Option::is_some)).with_max_level_hint(LevelFilter::DEBUG);
        let lines = fmt::layer().with_ansi(false).with_writer(|| Lines).with_filter(of_this);
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines)).unwrap();
    });
    LOG.set(Some(Vec::new()));
    let result = act();
    (result, String::from_utf8(LOG.take().unwrap()).unwrap())
}

/// Where the log goes.
struct Lines;

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.as_mut().unwrap().extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
