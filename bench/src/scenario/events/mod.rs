//! Does a webhook that fails, goes away and is killed hear of everything, in order?
//!
//! Messages are stored as fast as that goes, and a receiver of events stands in this process: it fails one call in some, half of these
//! times after it took the events; it is away for a while, and killed in the middle of a call; and `--command` kills logic. What counts is whether
//! every message was told, those of a conversation in their order. Logic has to be set to tell this receiver (`[events]`), as
//! `scripts/events` does. The main thread looks on; the rest is on the runtime of the target.

mod ledger;
mod receiver;
mod sending;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use serde_json::json;
use tokio::task::JoinSet;

use self::{ledger::EventLedger, receiver::ReceiverBook, sending::Senders};
use super::restart::Command;
use crate::{
    progress::Progress,
    result::{Figures, Outcome},
    target::{Target, TargetArguments},
    users::{self, TokenSource},
    webhook::WebhookListener,
};

/// Conversations whose messages go in one call.
const TOGETHER: usize = 64;

/// Calls under way at the same time.
const CALLS: usize = 8;

/// When nothing more was told for so long, nothing more comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const TURN: Duration = Duration::from_millis(200);

/// When so much of all is stored, the receiver goes away, and the command runs.
const AWAY_AT: f64 = 0.2;
const COMMAND_AT: f64 = 0.6;

/// When so much of all was told, it is killed.
const KILLED_AT: f64 = 0.5;

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// The code that lets a phone number sign in
    #[arg(long, value_name = "CODE", default_value = "123456")]
    code: String,
    /// About so many messages
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    messages: u32,
    /// Where logic tells events: the address in its events.webhook
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9190")]
    listen: SocketAddr,
    /// The receiver fails every so manieth call; 0 for none
    #[arg(long, value_name = "N", default_value_t = 5)]
    fail_each: u64,
    /// Seconds for which it is away
    #[arg(long, value_name = "N", default_value_t = 60)]
    away: u64,
    /// Kills logic and starts it again: a line for a shell
    #[arg(long, value_name = "LINE")]
    command: Option<String>,
    /// The metrics of logic, for the lag
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8011")]
    admin: SocketAddr,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Outcome {
    let started = Instant::now();
    let mut figures = Figures::default();
    let ended = go(arguments, &mut figures);
    let mut config = arguments.target.to_json();
    config["messages"] = arguments.messages.into();
    config["fail_each"] = arguments.fail_each.into();
    config["away"] = arguments.away.into();
    config["command"] = json!(arguments.command);
    Outcome { figures, ..Outcome::of("events", config, started, ended) }
}

fn go(arguments: &Arguments, figures: &mut Figures) -> anyhow::Result<()> {
    arguments.target.ensure_tcp()?;
    let run = format!("{:08x}", rand::random::<u32>());
    let target = Target::reach(&arguments.target, &run)?;
    let conversations = TOGETHER * CALLS;
    let users = users::sign_up(&target, TokenSource::Business, &arguments.code, 2 * conversations)?;
    let pairs = users.chunks(2).map(|pair| (pair[0].id, pair[1].id)).collect();
    let senders = Senders {
        channel: target.logic(),
        internal_token: target.internal_token().to_owned(),
        run: run.clone(),
        pairs: Arc::new(pairs),
        numbers: arguments.messages.div_ceil(conversations as u32),
        stored: Arc::new(AtomicU64::new(0)),
    };
    let book = ReceiverBook::new(EventLedger::new(&run, conversations), arguments.fail_each);
    let mut play = Play {
        arguments,
        total: u64::from(senders.numbers) * conversations as u64,
        stored: senders.stored.clone(),
        book,
        receiver: None,
        back_at: None,
        was_away: false,
        was_killed: false,
        command: None,
        lag_max_s: 0.0,
        lag_s: 0.0,
        stored_after: None,
    };
    let started = Instant::now();
    let ended = target.runtime().clone().block_on(play.whole(senders));
    play.tell(figures, started.elapsed());
    ended?;
    play.judge()
}

/// What goes on.
struct Play<'a> {
    arguments: &'a Arguments,
    total: u64,
    stored: Arc<AtomicU64>,
    book: Arc<ReceiverBook>,
    receiver: Option<WebhookListener>,
    /// When the receiver is back that is away.
    back_at: Option<Instant>,
    was_away: bool,
    was_killed: bool,
    command: Option<Command>,
    lag_max_s: f64,
    lag_s: f64,
    /// How long it took to store all.
    stored_after: Option<Duration>,
}

impl Play<'_> {
    async fn whole(&mut self, senders: Senders) -> anyhow::Result<()> {
        self.listen().await?;
        let started = Instant::now();
        let mut sending = JoinSet::new();
        for call in 0..CALLS {
            sending.spawn(senders.clone().send(call * TOGETHER..(call + 1) * TOGETHER));
        }
        let mut progress = Progress::new("telling", self.total);
        let (mut told, mut told_at) = (0, Instant::now());
        loop {
            while let Some(ended) = sending.try_join_next() {
                ended??;
            }
            if sending.is_empty() {
                self.stored_after.get_or_insert_with(|| started.elapsed());
            }
            self.step().await?;
            let now_told = self.book.look(|ledger| ledger.told);
            if now_told > told || self.back_at.is_some() || !sending.is_empty() {
                (told, told_at) = (now_told, Instant::now());
            }
            progress.show(told, || {
                format!("{} stored, lag {:.1} s{}", self.stored.load(Relaxed), self.lag_s, self.state())
            });
            if sending.is_empty() && (told >= self.total || told_at.elapsed() >= PATIENCE) {
                return Ok(());
            }
            tokio::time::sleep(TURN).await;
        }
    }

    /// What is due of all that is to happen.
    async fn step(&mut self) -> anyhow::Result<()> {
        let share_of = |count: u64| count as f64 / self.total as f64;
        let (share, told_share) = (share_of(self.stored.load(Relaxed)), share_of(self.book.look(|ledger| ledger.told)));
        if self.back_at.is_some_and(|back_at| Instant::now() >= back_at) {
            self.back_at = None;
            self.listen().await?;
        }
        if share >= AWAY_AT && !self.was_away {
            self.was_away = true;
            self.receiver = None;
            self.back_at = Some(Instant::now() + Duration::from_secs(self.arguments.away));
        }
        if told_share >= KILLED_AT && !self.was_killed && self.receiver.is_some() {
            self.was_killed = true;
            self.receiver = None;
            self.listen().await?;
        }
        if let Some(line) = self.arguments.command.as_deref().filter(|_| share >= COMMAND_AT && self.command.is_none())
        {
            self.command = Some(Command::start(line)?);
        }
        self.command.as_mut().map_or(Ok(true), Command::has_ended)?;
        if let Some(lag_s) = lag_s(self.arguments.admin) {
            self.lag_s = lag_s;
            self.lag_max_s = self.lag_max_s.max(lag_s);
        }
        Ok(())
    }

    async fn listen(&mut self) -> anyhow::Result<()> {
        self.receiver = Some(WebhookListener::start(self.arguments.listen, self.book.taking()).await?);
        Ok(())
    }

    fn state(&self) -> &'static str {
        if self.back_at.is_some() { ", the receiver is away" } else { "" }
    }

    fn tell(&self, figures: &mut Figures, lasted: Duration) {
        let stored = self.stored.load(Relaxed);
        figures.count("stored", stored, "messages stored");
        let seconds = self.stored_after.map(|stored_after| stored_after.as_secs_f64());
        figures.measure("stored_per_second", seconds.map(|seconds| stored as f64 / seconds), "of them per second");
        self.book.look(|ledger| {
            figures.count("told", ledger.told, "messages told, each counted once");
            figures.count("repeated", ledger.repeated, "messages told again");
            figures.count("lost", self.total.saturating_sub(ledger.told), "messages that were never told");
            figures.count("out_of_order", ledger.out_of_order, "messages passed over in their conversation");
        });
        figures.count("calls", self.book.calls.load(Relaxed), "calls of the webhook");
        figures.count("failed", self.book.failed.load(Relaxed), "of them that the receiver failed");
        figures.measure("lag_max_seconds", self.lag_max_s, "most that telling was behind, by the metrics (s)");
        figures.measure("lag_end_seconds", self.lag_s, "how far it was behind in the end (s)");
        figures.measure("seconds", lasted.as_secs_f64(), "from the first message to the last event (s)");
    }

    fn judge(&self) -> anyhow::Result<()> {
        let (told, out_of_order) = self.book.look(|ledger| (ledger.told, ledger.out_of_order));
        ensure!(told == self.total, "{} messages were never told", self.total - told.min(self.total));
        ensure!(out_of_order == 0, "{out_of_order} messages were told when one before them was not");
        ensure!(self.was_away && self.was_killed, "the receiver was not away and killed: send more --messages");
        ensure!(self.arguments.command.is_none() || self.command.is_some(), "--command was not run");
        Ok(())
    }
}

/// How far behind telling is, as the metrics of logic say; none while it does not answer.
fn lag_s(admin: SocketAddr) -> Option<f64> {
    let mut stream = TcpStream::connect_timeout(&admin, TURN).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let line = answer.lines().find(|line| line.starts_with("logic_walk_lag_seconds{walk=\"events\"}"))?;
    line.split(' ').next_back()?.parse().ok()
}
