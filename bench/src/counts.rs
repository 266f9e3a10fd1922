//! What a run counts, in a form that the processes of one run can add up: sums, and distributions of latencies. Plain data,
//! on any thread.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::{score::Score, stats::Latencies};

/// The counts of one process, or of all.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    sums: BTreeMap<String, f64>,
    latencies: BTreeMap<String, Latencies>,
    /// Distributions of one round after the other.
    rounds: BTreeMap<String, Vec<Latencies>>,
}

impl Counts {
    /// Adds to a sum.
    pub fn add(&mut self, key: &str, value: f64) {
        *self.sums.entry(key.to_owned()).or_default() += value;
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty() && self.latencies.is_empty() && self.rounds.is_empty()
    }

    /// A sum; nothing where nothing was added.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.sums.get(key).copied()
    }

    /// A sum; 0 where nothing was added.
    pub fn sum(&self, key: &str) -> f64 {
        self.get(key).unwrap_or_default()
    }

    /// Takes a sum away, as if nothing had been added.
    pub fn forget(&mut self, key: &str) {
        self.sums.remove(key);
    }

    /// A sum of what is counted in wholes.
    pub fn count(&self, key: &str) -> u64 {
        self.sum(key) as u64
    }

    /// Adds to a distribution.
    pub fn add_latencies(&mut self, key: &str, latencies: &Latencies) {
        self.latencies.entry(key.to_owned()).or_default().add(latencies);
    }

    /// Adds to the distribution of one round, the first of which is 0.
    pub fn add_round(&mut self, key: &str, round: usize, latencies: &Latencies) {
        let rounds = self.rounds.entry(key.to_owned()).or_default();
        if rounds.len() <= round {
            rounds.resize_with(round + 1, Latencies::default);
        }
        rounds[round].add(latencies);
    }

    /// The distributions of all rounds.
    pub fn rounds(&self, key: &str) -> &[Latencies] {
        self.rounds.get(key).map_or(&[], Vec::as_slice)
    }

    /// Adds to a rate: those of processes add up, as they run at the same time.
    pub fn add_rate(&mut self, key: &str, per_second: Option<f64>) {
        if let Some(per_second) = per_second {
            self.add(key, per_second);
        }
    }

    /// Adds what was done per second, with its latencies.
    pub fn add_score(&mut self, key: &str, score: &Score) {
        self.add_latencies(key, score.latencies());
        self.add_rate(key, score.per_second());
    }

    /// A distribution; empty where nothing was added.
    pub fn latencies(&self, key: &str) -> Latencies {
        self.latencies.get(key).cloned().unwrap_or_default()
    }

    /// Adds what another process counted.
    pub fn merge(&mut self, other: &Self) {
        other.sums.iter().for_each(|(key, value)| self.add(key, *value));
        other.latencies.iter().for_each(|(key, latencies)| self.add_latencies(key, latencies));
        for (key, rounds) in &other.rounds {
            rounds.iter().enumerate().for_each(|(round, latencies)| self.add_round(key, round, latencies));
        }
    }

    /// The distributions as curves, for plots: `[share of all, within so many ms]`.
    pub fn curves(&self) -> Value {
        let filled = self.latencies.iter().filter(|(_, latencies)| latencies.count() > 0);
        let curves = filled.map(|(key, latencies)| (key.clone(), json!(latencies.curve())));
        curves.collect::<Map<_, _>>().into()
    }

    /// For another process.
    pub fn to_json(&self) -> Value {
        let latencies = self.latencies.iter().map(|(key, latencies)| (key.clone(), json!(latencies.cells())));
        let cells = |rounds: &Vec<Latencies>| rounds.iter().map(Latencies::cells).collect::<Vec<_>>();
        let rounds = self.rounds.iter().map(|(key, rounds)| (key.clone(), json!(cells(rounds))));
        json!({
            "sums": self.sums,
            "latencies": latencies.collect::<Map<_, _>>(),
            "rounds": rounds.collect::<Map<_, _>>(),
        })
    }

    /// From another process.
    pub fn from_json(json: &Value) -> anyhow::Result<Self> {
        const FOREIGN: &str = "a client process says what is no counts";
        let mut counts = Self::default();
        for (key, value) in json["sums"].as_object().context(FOREIGN)? {
            counts.add(key, value.as_f64().context(FOREIGN)?);
        }
        for (key, cells) in json["latencies"].as_object().context(FOREIGN)? {
            let cells: Vec<(u64, u64)> = serde_json::from_value(cells.clone()).context(FOREIGN)?;
            counts.add_latencies(key, &Latencies::from_cells(&cells));
        }
        for (key, rounds) in json["rounds"].as_object().context(FOREIGN)? {
            let rounds: Vec<Vec<(u64, u64)>> = serde_json::from_value(rounds.clone()).context(FOREIGN)?;
            let rounds = rounds.iter().enumerate();
            rounds.for_each(|(round, cells)| counts.add_round(key, round, &Latencies::from_cells(cells)));
        }
        Ok(counts)
    }
}

/// What was found until a run ended, whichever way.
#[derive(Debug, Default)]
pub struct Findings {
    /// What was counted.
    pub counts: Counts,
    /// What to know about it.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_two_processes_add_up_on_the_way_through_json() {
        let mut latencies = Latencies::default();
        (1..=100).for_each(|ms| latencies.record(std::time::Duration::from_millis(ms)));
        let mut counts = Counts::default();
        counts.add("lost", 2.0);
        counts.add_latencies("sends", &latencies);
        counts.add_rate("sends", Some(10.0));
        counts.add_rate("none", None);
        counts.add_round("slices", 1, &latencies);
        let other = Counts::from_json(&counts.to_json()).unwrap();
        counts.merge(&other);
        assert_eq!((counts.count("lost"), counts.sum("sends"), counts.get("none")), (4, 20.0, None));
        counts.forget("lost");
        assert_eq!(counts.get("lost"), None);
        let merged = counts.latencies("sends");
        assert_eq!(merged.count(), 200);
        assert!((merged.ms(0.5) - 50.0).abs() < 0.1);
        assert!(counts.curves()["sends"].as_array().unwrap().len() > 5);
        let rounds: Vec<_> = counts.rounds("slices").iter().map(Latencies::count).collect();
        assert_eq!(rounds, [0, 200]);
        assert!(Counts::from_json(&json!({ "sums": 1 })).is_err());
    }
}
