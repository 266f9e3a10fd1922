//! How fast do files come and go, and what do many at once cost?
//!
//! First one large file at a time, by turns with a bare handler that hashes, writes and syncs as well. Then many at once, each of which
//! waits in its middle until all are there, while the memory of the server's process is looked at.
//!
//! The clients here give way to everybody: other people's machines do not take part in who gets a processor of the server's host. Else what
//! is measured is mostly how much a client at full speed leaves to the threads of files, which give way as well.

mod client;
mod crowd;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use self::{
    client::{Client, User},
    crowd::{Crowd, keep_going},
};
use crate::{
    baseline::{Baseline, Kind},
    counts::Counts,
    host::Process,
    load::{LoadArguments, Measurement, Run},
    progress::Progress,
    result::Figures,
    stats::ratio,
};

/// Transfers of one user at once: business allows twice as many.
const TRANSFERS_PER_USER: u32 = 8;

const MIB: u64 = 1 << 20;

/// What `nice` would be told for the clients.
const CLIENT_NICENESS: i32 = 19;

/// Arguments of `files`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// MiB of the large file
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    large: u64,
    /// So often it goes up and down, on either side
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Transfers at once
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1000))]
    transfers: u32,
    /// MiB of each of these
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1024))]
    small: u64,
    /// Only keep so many transfers going, half of them up and half of them down
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    beside: Option<u32>,
    /// KiB per second of each of these [default: as fast as it goes]
    #[arg(long, value_name = "N", requires = "beside", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pace: Option<u64>,
    /// The folder in which the baseline keeps files: on the same disk as business's [default: one for temporary files]
    #[arg(long, value_name = "DIR")]
    folder: Option<std::path::PathBuf>,
}

impl Measurement for Arguments {
    const NAME: &'static str = "files";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        json!({
            "large_mib": self.large,
            "rounds": self.rounds,
            "transfers": self.transfers,
            "small_mib": self.small,
            "beside": self.beside,
            "pace_kib": self.pace,
        })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("files at a time, of which there is one", 1)]
    }

    fn check(&self) -> anyhow::Result<()> {
        self.load.ensure_tcp()
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let at_once = self.beside.unwrap_or(self.transfers);
        let users = run.sign_up(1 + at_once.div_ceil(TRANSFERS_PER_USER) as usize)?;
        let users: Vec<User> = users.iter().map(User::of).collect();
        let client = Client::new(self.load.files());
        let bare = if self.beside.is_none() { Some(Bare::start(self.folder.as_deref())?) } else { None };
        // From here on, and for all threads that this one starts.
        rustix::process::nice(CLIENT_NICENESS).context("the clients cannot give way")?;
        let runtime = Runtime::new().context("cannot start a runtime")?;
        if let Some(transfers) = self.beside {
            let pace = self.pace.map(|kib| kib << 10);
            let going = keep_going(&client, &users[1..], transfers, self.small * MIB, pace, self.load.duration());
            run.counts.add("beside_bytes", runtime.block_on(going)? as f64);
            return Ok(());
        }
        if let Some(bare) = bare {
            self.take_turns(run, &runtime, &client, &users[0], &bare)?;
        }
        let server = Process::listening_on(&[self.load.files()])?.into_iter().next().context("business is gone")?;
        let crowd = Crowd {
            rss_before: server.rss_bytes()?,
            client: client.clone(),
            users: users[1..].to_vec(),
            transfers: self.transfers,
            bytes: self.small * MIB,
            server,
        };
        let crowd = Arc::new(crowd);
        let (urls, up) = runtime.block_on(crowd.up())?;
        let down = runtime.block_on(crowd.down(urls))?;
        run.counts.add("crowd", self.transfers.into());
        run.counts.add("crowd_up_bytes", up as f64);
        run.counts.add("crowd_down_bytes", down as f64);
        Ok(())
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        let mib = counts.sum("mib");
        for (way, words, bare_words, ratio_words) in [
            ("up", "MiB per second up", "a bare handler, MiB per second up", "up, against the bare one"),
            ("down", "MiB per second down", "a bare handler, MiB per second down", "down, against the bare one"),
        ] {
            let of = |side: &str| ratio(mib, counts.get(&format!("{side}_{way}_seconds")));
            let (server, bare) = (of("server"), of("bare"));
            let [key, bare_key, ratio_key] = match way {
                "up" => ["up_mib_per_second", "baseline_up_mib_per_second", "up_ratio"],
                _ => ["down_mib_per_second", "baseline_down_mib_per_second", "down_ratio"],
            };
            figures.measure(key, server, words);
            figures.measure(bare_key, bare, bare_words);
            figures.measure(ratio_key, ratio(server, bare), ratio_words);
        }
        let transfers = counts.get("crowd");
        figures.counted(counts, &[("crowd", "transfers at once")]);
        for (key, of, words) in [
            ("rss_kib_per_upload", "crowd_up_bytes", "KiB by which business grew at most for each that went up"),
            ("rss_kib_per_download", "crowd_down_bytes", "KiB by which business grew at most for each that went down"),
        ] {
            let kib = ratio(counts.get(of), transfers).map(|bytes| bytes / 1024.0);
            figures.measure(key, kib, words);
        }
        let beside = ratio(counts.get("beside_bytes"), Some(self.load.duration().as_secs_f64() * MIB as f64));
        figures.measure("beside_mib_per_second", beside, "MiB per second of what was kept going");
        Ok(())
    }
}

impl Arguments {
    /// The large file, by turns with the bare handler.
    fn take_turns(
        &self,
        run: &mut Run<'_>,
        runtime: &Runtime,
        client: &Client,
        user: &User,
        bare: &Bare,
    ) -> anyhow::Result<()> {
        let (bare, bytes) = (Client::new(bare.server.address()), self.large * MIB);
        let mut progress = Progress::new("files", self.rounds.into());
        for round in 0..self.rounds {
            let url = timed(run, "server_up_seconds", || runtime.block_on(client.upload(user, bytes, None)))?;
            timed(run, "bare_up_seconds", || runtime.block_on(bare.put("/large", bytes)))?;
            timed(run, "server_down_seconds", || runtime.block_on(client.download(&url, bytes, None)))?;
            timed(run, "bare_down_seconds", || runtime.block_on(bare.download("/large", bytes, None)))?;
            run.counts.add("mib", self.large as f64);
            progress.show((round + 1).into(), || format!("{} MiB up and down", self.large * u64::from(round + 1)));
        }
        Ok(())
    }
}

/// The bare handler, with the priority of a service.
struct Bare {
    server: Baseline,
    _folder: TempDir,
}

impl Bare {
    fn start(folder: Option<&Path>) -> anyhow::Result<Self> {
        let temporary = folder.map_or_else(tempfile::tempdir, tempfile::tempdir_in);
        let folder = temporary.context("the baseline has no folder")?;
        let server = Baseline::start(Kind::Files { folder: folder.path().to_owned() })?;
        Ok(Self { server, _folder: folder })
    }
}

fn timed<T>(run: &mut Run<'_>, key: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let started = Instant::now();
    let done = work()?;
    run.counts.add(key, started.elapsed().as_secs_f64());
    Ok(done)
}

/// Longer than any transfer of these takes where all is well.
const DEADLINE: Duration = Duration::from_secs(600);
