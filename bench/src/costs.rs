//! What the operations of a scenario cost the services of this machine: CPU time of each service, of the database and of Redis, and of
//! gim-bench itself, and how much the database grew on disk; and how long that disk takes to keep a page, before the server is asked.
//!
//! Read from /proc by the thread of the scenario, at both ends of each slice in which the server is asked: what a baseline spends is
//! not in it. Of several processes of one run, the first one looks at the services, and each looks at itself, so that their counts add
//! up. Services are found from conn on, by the connections between them; those of other machines are left out.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    counts::Counts,
    disk,
    host::{Process, table_bytes, table_folder},
    result::Figures,
    stats::Latencies,
};

/// Who spends, by the names of processes, and their figures.
const SPENDERS: [(&str, &[&str], &str, &str); 6] = [
    ("conn", &["gim-conn"], "conn_cpu_us_per_operation", "CPU of conn (µs)"),
    ("logic", &["gim-logic"], "logic_cpu_us_per_operation", "CPU of logic (µs)"),
    ("business", &["gim-business"], "business_cpu_us_per_operation", "CPU of business (µs)"),
    ("database", &["mariadbd", "mysqld"], "database_cpu_us_per_operation", "CPU of the database server (µs)"),
    ("redis", &["redis-server", "valkey-server"], "redis_cpu_us_per_operation", "CPU of Redis (µs)"),
    (CLIENT, &[], "client_cpu_us_per_operation", "CPU of gim-bench itself (µs)"),
];

const CLIENT: &str = "client";
const CONN: &str = "conn";

const OPERATIONS: &str = "costs.operations";
const STORED_BYTES: &str = "costs.stored_bytes";
const FDATASYNC: &str = "costs.fdatasync";

/// Databases extend their files by pieces of megabytes: a smaller growth says nothing about single messages.
const GROWTH_BYTES_MIN: f64 = (64 << 20) as f64;

/// The processes that are looked at.
#[derive(Debug, Default)]
pub struct Costs {
    spenders: Vec<(&'static str, Process)>,
    /// Of the disk that has the tables, until it is counted.
    fdatasync: Option<Latencies>,
}

/// What was spent up to a moment.
#[derive(Debug)]
pub struct Spent {
    cpu: BTreeMap<&'static str, Duration>,
    table_bytes: Option<u64>,
}

impl Costs {
    /// Looks at this process alone.
    pub fn of_client() -> Self {
        Self { spenders: vec![(CLIENT, Process::this())], fdatasync: None }
    }

    /// Looks at these nodes of conn, at the services of this machine that stand behind them, and at this process.
    pub fn of_all(conn: Vec<Process>) -> Self {
        let mut costs = Self::of_client();
        costs.spenders.extend(conn.into_iter().map(|process| (CONN, process)));
        // The list grows while it is walked.
        let mut next = 1;
        while let Some((_, process)) = costs.spenders.get(next) {
            for peer in process.connected_listeners() {
                let is_known = costs.spenders.iter().any(|(_, known)| known.folder() == peer.folder());
                if let Some(spender) = spender_of(&peer.name()).filter(|_| !is_known) {
                    costs.spenders.push((spender, peer));
                }
            }
            next += 1;
        }
        let folder = costs.spenders.iter().find_map(|(_, process)| table_folder(process));
        // Where we may not write, nothing is told of it.
        costs.fdatasync = folder.and_then(|folder| disk::fdatasync_times(&folder).ok());
        costs
    }

    /// What all of them have spent so far; who is gone has spent nothing since.
    pub fn spent(&self) -> Spent {
        let mut cpu = BTreeMap::<_, Duration>::new();
        for (spender, process) in &self.spenders {
            *cpu.entry(*spender).or_default() += process.cpu_time().unwrap_or_default();
        }
        let sizes: Vec<u64> = self.spenders.iter().filter_map(|(_, process)| table_bytes(process)).collect();
        Spent { cpu, table_bytes: (!sizes.is_empty()).then(|| sizes.iter().sum()) }
    }

    /// Counts what so many operations cost that went on since `before`.
    pub fn charge(&mut self, before: &Spent, operations: u64, counts: &mut Counts) {
        let now = self.spent();
        if let Some(fdatasync) = self.fdatasync.take() {
            counts.add_latencies(FDATASYNC, &fdatasync);
        }
        counts.add(OPERATIONS, operations as f64);
        for (spender, cpu) in now.cpu {
            let since = cpu.saturating_sub(before.cpu.get(spender).copied().unwrap_or_default());
            counts.add(&cpu_key(spender), since.as_secs_f64());
        }
        if let (Some(now), Some(before)) = (now.table_bytes, before.table_bytes) {
            counts.add(STORED_BYTES, now.saturating_sub(before) as f64);
        }
    }
}

fn spender_of(process: &str) -> Option<&'static str> {
    SPENDERS.iter().find(|(_, processes, ..)| processes.contains(&process)).map(|(spender, ..)| *spender)
}

fn cpu_key(spender: &str) -> String {
    format!("costs.cpu_seconds.{spender}")
}

/// Says what an operation cost, where that was counted.
pub fn tell(counts: &Counts, figures: &mut Figures) {
    let operations = counts.sum(OPERATIONS);
    if operations == 0.0 {
        return;
    }
    for (spender, _, key, words) in SPENDERS {
        let cpu = counts.get(&cpu_key(spender)).map(|seconds| 1e6 * seconds / operations);
        figures.measure(key, cpu, format!("for each, {words}"));
    }
    let grown = counts.get(STORED_BYTES).filter(|bytes| *bytes >= GROWTH_BYTES_MIN);
    figures.measure("stored_bytes_per_operation", grown.map(|bytes| bytes / operations), "for each, bytes on disk");
    let fdatasync = counts.latencies(FDATASYNC);
    figures.within("fdatasync_p50_us", &fdatasync, 0.5, "fdatasync of a page, p50 (µs)");
    figures.within("fdatasync_p99_us", &fdatasync, 0.99, "fdatasync of a page, p99 (µs)");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_of_several_processes_add_up_and_are_shared_by_operations() {
        let mut costs = Costs { fdatasync: Some(fdatasync_of(1500)), ..Costs::of_all(vec![Process::this()]) };
        let before = Spent { cpu: BTreeMap::new(), table_bytes: Some(0) };
        let mut counts = Counts::default();
        costs.charge(&before, 3, &mut counts);
        costs.charge(&before, 1, &mut counts);
        assert_eq!(counts.count(OPERATIONS), 4);
        assert!(counts.get(&cpu_key(CONN)).is_some() && counts.get(&cpu_key("redis")).is_none());
        assert_eq!(counts.latencies(FDATASYNC).count(), 1, "of one disk, however many slices there are");

        let mut counts = Counts::default();
        for (key, value) in [
            (OPERATIONS, 1e5),
            (&*cpu_key(CONN), 3.0),
            (&*cpu_key("database"), 0.5),
            (STORED_BYTES, 2.0 * GROWTH_BYTES_MIN),
        ] {
            counts.add(key, value);
        }
        counts.add_latencies(FDATASYNC, &fdatasync_of(1500));
        let mut figures = Figures::default();
        tell(&counts, &mut figures);
        let table = figures.table();
        assert!(table.contains("CPU of conn (µs)") && !table.contains("Redis"), "{table}");
        let value = |words: &str| table.lines().find_map(|line| line.strip_prefix(words).map(str::trim));
        assert_eq!(value("for each, CPU of conn (µs)"), Some("30.0"), "{table}");
        assert_eq!(value("for each, bytes on disk"), Some("1342.0"), "{table}");
        let told = value("fdatasync of a page, p99 (µs)").and_then(|value| value.parse::<f64>().ok());
        assert!(told.is_some_and(|us| (1400.0..1600.0).contains(&us)), "{table}");
    }

    fn fdatasync_of(us: u64) -> Latencies {
        let mut times = Latencies::default();
        times.record(Duration::from_micros(us));
        times
    }

    #[test]
    fn processes_are_known_by_their_names() {
        assert_eq!(spender_of("mysqld"), Some("database"));
        assert_eq!(spender_of("gim-logic"), Some("logic"));
        assert_eq!(spender_of("sshd"), None);
    }
}
