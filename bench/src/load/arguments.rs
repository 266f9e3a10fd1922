//! The arguments of every scenario that measures, and whether they go with each other.

use std::{net::SocketAddr, time::Duration};

use anyhow::ensure;

use crate::{
    host::Process,
    part::Part,
    swarm::transport::Transport,
    target::{Target, TargetArguments},
    users::TokenSource,
};

/// Rates that an open loop can be asked for.
const RATE_MIN: f64 = 0.001;
const RATE_MAX: f64 = 1_000_000.0;

/// Arguments of every scenario that measures.
#[derive(Debug, clap::Args)]
pub struct LoadArguments {
    #[command(flatten)]
    pub(super) target: TargetArguments,
    /// How long to measure
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) seconds: u64,
    /// The code that lets a phone number sign in
    #[arg(long, value_name = "CODE", default_value = "123456")]
    pub(super) code: String,
    /// Where users have their tokens from
    #[arg(long, value_enum, default_value_t = TokenSource::Business)]
    pub(super) token: TokenSource,
    /// Spread the clients over so many processes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(super) processes: u16,
    /// Start so many conn nodes for the run, attached to --logic, and connect to them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(super) servers: Option<u16>,
    /// The processes of conn, where their ports do not tell
    #[arg(long, value_name = "PID", value_delimiter = ',', conflicts_with = "servers")]
    server_pid: Vec<u32>,
    #[arg(long, hide = true)]
    pub(super) part: Option<Part>,
}

impl LoadArguments {
    /// How long to measure.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// How clients connect.
    pub fn transport(&self) -> Transport {
        self.target.transport()
    }

    /// As [`TargetArguments::ensure_tcp`].
    pub fn ensure_tcp(&self) -> anyhow::Result<()> {
        self.target.ensure_tcp()
    }

    /// Where business takes files on this machine.
    pub fn files(&self) -> SocketAddr {
        self.target.files()
    }

    /// Client processes of the run.
    pub fn processes(&self) -> u32 {
        self.processes.into()
    }

    /// Whether these options go with each other, and with what is `spread` over the processes.
    pub(super) fn check(&self, spread: &[(&str, u32)]) -> anyhow::Result<()> {
        let has_servers = self.part.is_none() && self.servers.is_some();
        ensure!(
            !(has_servers && self.target.has_endpoints()),
            "--servers starts conn nodes of its own: --tcp and --ws name others"
        );
        ensure!(
            !(has_servers && self.target.transport().is_encrypted()),
            "--servers starts conn nodes without certificates: --transport {} needs one",
            self.target.transport()
        );
        for (what, count) in spread {
            let processes = self.processes;
            ensure!(u32::from(processes) <= *count, "--processes {processes} need as many {what}, which are {count}");
        }
        Ok(())
    }

    pub(super) fn is_spread(&self) -> bool {
        self.part.is_none() && (self.processes > 1 || self.servers.is_some())
    }

    pub(super) fn server_processes(&self, target: &Target) -> anyhow::Result<Vec<Process>> {
        if self.server_pid.is_empty() {
            let addresses: Vec<_> = target.endpoints().iter().map(|endpoint| endpoint.address).collect();
            return Process::listening_on(&addresses);
        }
        self.server_pid.iter().map(|&id| Process::with_id(id)).collect()
    }
}

/// Fails where an option is no rate per second.
pub fn ensure_rate(option: &str, rate: Option<f64>) -> anyhow::Result<()> {
    let is_possible = rate.is_none_or(|rate| (RATE_MIN..=RATE_MAX).contains(&rate));
    ensure!(is_possible, "--{option} must be from {RATE_MIN} to {RATE_MAX} per second");
    Ok(())
}
