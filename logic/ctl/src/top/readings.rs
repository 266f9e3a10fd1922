//! What a service answers, as figures: how much there is of something, and how often something happened since the last look. The time is
//! passed in.
//!
//! Always holds: a counter that begins anew, with a service that was started again, is no negative rate.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use crate::status::{build_of, pages};

/// So many of the last looks are kept for a curve.
const LOOKS_MAX: usize = 240;

/// How a figure is made of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As it is.
    Amount,
    /// By how much it grew in a second.
    Rate,
    /// Of a histogram: the mean of what came since the last look, in milliseconds.
    Mean,
}

/// Of each service: the metric, perhaps with one of its labels; how it is read; and its name on the screen. The first is drawn as a curve.
type Shown = (&'static str, Kind, &'static str);

const OF_CONN: [Shown; 9] = [
    ("conn_packets_in_total", Kind::Rate, "packets in/s"),
    ("conn_frames_out_total", Kind::Rate, "frames out/s"),
    ("conn_bytes_out_total", Kind::Rate, "bytes out/s"),
    ("conn_connections", Kind::Amount, "connections"),
    ("conn_signed_in", Kind::Amount, "signed in"),
    ("conn_accepted_total", Kind::Rate, "accepted/s"),
    ("conn_closed_total", Kind::Rate, "closed/s"),
    ("conn_closed_total{slow_consumer}", Kind::Rate, "closed as slow/s"),
    ("conn_requests_pending", Kind::Amount, "requests with logic"),
];

const OF_LOGIC: [Shown; 9] = [
    ("logic_inbox_rows_total", Kind::Rate, "inbox rows/s"),
    ("logic_inbox_commit_seconds_count", Kind::Rate, "transactions/s"),
    ("logic_inbox_commit_seconds", Kind::Mean, "ms a transaction"),
    ("logic_inbox_queue_jobs", Kind::Amount, "wait for the database"),
    ("logic_sign_ins_total", Kind::Rate, "sign-ins/s"),
    ("logic_link_nodes", Kind::Amount, "conn nodes"),
    ("logic_link_pushes_dropped_total", Kind::Rate, "pushes dropped/s"),
    ("grpc_calls_total", Kind::Rate, "calls/s"),
    ("logic_business_failed_total", Kind::Rate, "business failed/s"),
];

const OF_BUSINESS: [Shown; 5] = [
    ("grpc_calls_total", Kind::Rate, "calls/s"),
    ("grpc_call_seconds", Kind::Mean, "ms a call"),
    ("business_sign_ins_total", Kind::Rate, "sign-ins/s"),
    ("business_token_checks_total", Kind::Rate, "token checks/s"),
    ("business_logic_failures_total", Kind::Rate, "logic failed/s"),
];

/// One service, and what it answered lately.
#[derive(Debug)]
pub(super) struct Watched {
    /// As it was given.
    address: String,
    admin: SocketAddr,
    /// With its version, as `conn 0.1.0 (abc)`.
    pub(super) name: String,
    /// Empty where it is ready.
    pub(super) problem: String,
    last: Option<(Instant, BTreeMap<String, f64>)>,
    pub(super) figures: Vec<(&'static str, f64)>,
    /// The first figure of each look, the newest at the end.
    pub(super) curve: VecDeque<f64>,
}

impl Watched {
    pub(super) fn new((address, admin): (String, SocketAddr)) -> Self {
        let (name, problem) = (address.clone(), String::new());
        Self { address, admin, name, problem, last: None, figures: Vec::new(), curve: VecDeque::new() }
    }

    /// Asks it.
    pub(super) fn look(&mut self) {
        match pages(self.admin) {
            Err(problem) => {
                self.problem = problem;
                (self.last, self.figures) = (None, Vec::new());
            }
            Ok((problem, metrics)) => {
                self.problem = problem;
                self.take(&metrics, Instant::now());
            }
        }
    }

    /// Takes a page of metrics in.
    fn take(&mut self, metrics: &str, now: Instant) {
        let Some([service, version, commit]) = build_of(metrics) else {
            self.problem = "this is no service of gim".into();
            return;
        };
        self.name = format!("{service} {version} ({commit}) at {}", self.address);
        let shown: &[Shown] = match service.as_str() {
            "conn" => &OF_CONN,
            "logic" => &OF_LOGIC,
            _ => &OF_BUSINESS,
        };
        let sums = sums_of(metrics);
        let figure = |&(metric, kind, words): &Shown| (words, figure_of(metric, kind, self.last.as_ref(), &sums, now));
        self.figures = shown.iter().map(figure).collect();
        self.last = Some((now, sums));
        self.curve.extend(self.figures.first().map(|(_, value)| *value));
        while self.curve.len() > LOOKS_MAX {
            self.curve.pop_front();
        }
    }
}

fn figure_of(
    metric: &str,
    kind: Kind,
    last: Option<&(Instant, BTreeMap<String, f64>)>,
    sums: &BTreeMap<String, f64>,
    now: Instant,
) -> f64 {
    let growth = |metric: &str| {
        let (_, before) = last?;
        let (before, after) = (before.get(metric).copied().unwrap_or(0.0), sums.get(metric).copied().unwrap_or(0.0));
        Some(if after < before { after } else { after - before })
    };
    let elapsed_s = last.map_or(0.0, |(then, _)| now.duration_since(*then).as_secs_f64());
    let share = |part: Option<f64>, whole: f64| part.filter(|_| whole > 0.0).map_or(0.0, |part| part / whole);
    match kind {
        Kind::Amount => sums.get(metric).copied().unwrap_or(0.0),
        Kind::Rate => share(growth(metric), elapsed_s),
        Kind::Mean => {
            let count = growth(&format!("{metric}_count")).unwrap_or(0.0);
            share(growth(&format!("{metric}_sum")), count) * 1_000.0
        }
    }
}

/// Metrics added up over their labels, and once more by each value of a label: `conn_closed_total{slow_consumer}`.
fn sums_of(page: &str) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let (name, labels) = name.split_once('{').unwrap_or((name, ""));
        *sums.entry(name.to_owned()).or_default() += value;
        for label in labels.trim_end_matches('}').split("\",") {
            if let Some((_, label)) = label.split_once("=\"") {
                *sums.entry(format!("{name}{{{}}}", label.trim_end_matches('"'))).or_default() += value;
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn page(packets: u64, slow: u64, commits: u64, commit_s: f64) -> [String; 2] {
        let info = |service: &str| format!("gim_build_info{{service=\"{service}\",version=\"1\",commit=\"abc\"}} 1\n");
        [
            format!(
                "# HELP conn_packets_in_total x\n{}conn_packets_in_total{{reactor=\"0\"}} {packets}\n\
                 conn_packets_in_total{{reactor=\"1\"}} {packets}\nconn_connections{{reactor=\"0\"}} 3\n\
                 conn_closed_total{{reactor=\"0\",reason=\"slow_consumer\"}} {slow}\n\
                 conn_closed_total{{reactor=\"0\",reason=\"peer_closed\"}} 9\n",
                info("conn")
            ),
            format!(
                "{}logic_inbox_commit_seconds_sum {commit_s}\nlogic_inbox_commit_seconds_count {commits}\n",
                info("logic")
            ),
        ]
    }

    fn value(watched: &Watched, words: &str) -> f64 {
        watched.figures.iter().find(|(shown, _)| *shown == words).expect("it is shown").1
    }

    #[test]
    fn rates_and_means_are_those_since_the_last_look() {
        let (start, admin) = (Instant::now(), SocketAddr::from(([127, 0, 0, 1], 8001)));
        let watched = || Watched::new(("gim-1:8001".into(), admin));
        let (mut conn, mut logic) = (watched(), watched());
        for (page, seconds) in [(page(100, 1, 10, 1.0), 0), (page(200, 5, 30, 1.5), 2)] {
            conn.take(&page[0], start + Duration::from_secs(seconds));
            logic.take(&page[1], start + Duration::from_secs(seconds));
        }
        assert_eq!(conn.name, "conn 1 (abc) at gim-1:8001");
        assert_eq!((value(&conn, "packets in/s"), value(&conn, "connections")), (100.0, 3.0));
        assert_eq!((value(&conn, "closed as slow/s"), value(&conn, "closed/s")), (2.0, 2.0));
        assert_eq!((value(&logic, "transactions/s"), value(&logic, "ms a transaction")), (10.0, 25.0));
        assert_eq!(conn.curve, [0.0, 100.0]);
        conn.take(&page(20, 0, 0, 0.0)[0], start + Duration::from_secs(3));
        assert_eq!(value(&conn, "packets in/s"), 40.0, "it was started again");
    }

    #[test]
    fn a_service_that_is_none_and_one_that_is_gone_are_shown_as_such() {
        let mut other = Watched::new(("gim-1:9".into(), SocketAddr::from(([127, 0, 0, 1], 9))));
        other.take("up 1\n", Instant::now());
        assert_eq!(other.problem, "this is no service of gim");
        other.look();
        assert!(other.problem.starts_with("nobody answers: ") && other.figures.is_empty(), "{}", other.problem);
    }
}
