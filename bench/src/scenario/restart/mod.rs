//! What do people notice when nodes restart?
//!
//! Clients of the SDK, which come back by its rules whatever ends their connection; some of them write to each other in pairs, on
//! time whatever the server does. Nodes are restarted meanwhile by `--command`, or by hand. A send lasts from the time it was
//! meant to leave until the app is told that it is stored, however often the client had to repeat it.
//!
//! The main thread owns the [`Ledger`]; each client has tasks on the runtime of the target, and notes go through one bounded queue.

mod command;
mod ledger;
mod people;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc::Receiver, oneshot},
    time::timeout,
};

pub use self::command::Command;
use self::{
    ledger::Ledger,
    people::{Note, People, Writing},
};
use crate::{
    counts::Counts,
    load::{LoadArguments, Measurement, OwnCpu, Run, ensure_rate, tell_faults},
    progress::Progress,
    result::Figures,
    stats::Schedule,
    swarm::{DEADLINE, transport::Transport},
};

/// Nothing happened for so long: whoever is not back by then does not come. The longest wait of a client is half of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The part of the time before the command.
const BEFORE: f64 = 0.1;

/// Who is not there for good by then does not stay, however often a client came back meanwhile.
const SETTLE_MAX: Duration = Duration::from_secs(300);

/// A command takes no longer.
const COMMAND_MAX: Duration = Duration::from_secs(3600);

/// Longest time without a look at the clock.
const TURN_MAX: Duration = Duration::from_millis(100);

/// What must not happen, in words.
const FAULTS: [(&str, &str); 6] = [
    ("away", "people who were not back in the end"),
    ("failed", "sends that were refused"),
    ("lost", "messages lost"),
    ("duplicates", "messages that came twice"),
    ("reordered", "messages out of order"),
    ("unanswered", "sends that were never answered"),
];

/// Arguments of `restart`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// So many people, with a client each
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    connections: u32,
    /// Connects that are on their way at the same time, before the time that is measured
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,
    /// Of the people, those who write to each other in pairs
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    chatting: u32,
    /// Messages per second, of all together
    #[arg(long, value_name = "N", default_value_t = 200.0)]
    chat_rate: f64,
    /// What restarts nodes: a line for a shell, which runs when all are connected and have written for a while. What is measured
    /// goes on until it has ended, in any case
    #[arg(long, value_name = "LINE")]
    command: Option<String>,
    /// Clients ask the clients' listener of logic where to connect, and not only the node that they are given
    #[arg(long)]
    locate: bool,
}

impl Measurement for Arguments {
    const NAME: &'static str = "restart";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        json!({
            "connections": self.connections,
            "in_flight": self.in_flight,
            "chatting": self.chatting,
            "chat_rate": self.chat_rate,
            "command": self.command,
            "locate": self.locate,
        })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("pairs of those --chatting", self.chatting / 2)]
    }

    fn check(&self) -> anyhow::Result<()> {
        let Self { chatting, connections, .. } = self;
        ensure!(chatting.is_multiple_of(2), "--chatting must be even, as they write in pairs");
        ensure!(
            chatting <= connections,
            "--chatting {chatting} people need as many --connections, which are {connections}"
        );
        ensure!(self.load.processes() == 1, "--processes: all people are in one, which sees when the last one is back");
        ensure!(
            self.load.transport() == Transport::Tcp,
            "--transport: the clients are of the SDK, and connect by TCP here"
        );
        ensure_rate("chat-rate", Some(self.chat_rate))
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        crate::host::take_files(self.connections as usize)?;
        let users = run.sign_up(self.connections as usize)?;
        let mut ledger = Ledger::new(users.len(), self.chatting as usize);
        let runtime = run.target.runtime().clone();
        let (people, notes) = runtime.block_on(People::meet(&run.target, users, self.locate))?;
        let mut play = Play { ledger: &mut ledger, notes, command: None, lasted: self.load.duration() };
        let own_cpu = OwnCpu::start();
        let ended = runtime.block_on(play.whole(&people, self));
        own_cpu.check(run);
        if let Ok(scheduled) = &ended {
            run.note_schedule(*scheduled);
        }
        let command_seconds =
            play.command.as_ref().and_then(|command| command.lasted).map(|lasted| lasted.as_secs_f64());
        let lasted = play.lasted;
        run.counts.add_rate("command_seconds", command_seconds);
        ledger.count(&mut run.counts, lasted);
        if let Some(why) = ledger.first_failure() {
            run.warnings.push(format!("the first send that was refused: {why}"));
        }
        ended.map(drop)
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        figures.counted(counts, &[("connections", "people")]);
        figures.measure("command_seconds", counts.get("command_seconds"), "the command took (s)");
        figures.counted(counts, &[("left", "connections that ended, and not by the client")]);
        let absences = counts.latencies("absences");
        figures.within("away_p50_ms", &absences, 0.5, "half of the people back within (ms)");
        figures.within("away_p99_ms", &absences, 0.99, "99 % of them back within (ms)");
        figures.within("away_max_ms", &absences, 1.0, "the last one of them back within (ms)");
        figures.measure("gap_seconds", counts.get("gap_seconds"), "longest time in which somebody was away (s)");
        figures.measure("gap_returns", counts.get("gap_returns"), "people who came back in that time");
        let rate = counts.get("gap_returns_per_second");
        figures.measure("sign_ins_per_second", rate, "of them per second, from the first to the last");
        figures.measure("offered_per_second", self.chat_rate, "messages per second that were offered");
        figures.measure("achieved_per_second", counts.get("sends"), "messages per second that were stored");
        let durable = counts.latencies("durable");
        figures.within("p50_ms", &durable, 0.5, "half of the messages stored within (ms)");
        figures.within("p99_ms", &durable, 0.99, "99 % of the messages stored within (ms)");
        figures.within("max_ms", &durable, 1.0, "longest wait of a send (ms)");
        let arrival = counts.latencies("arrival");
        figures.within("arrival_p99_ms", &arrival, 0.99, "99 % of them with the receiver within (ms)");
        tell_faults(counts, figures, &FAULTS)
    }
}

/// What goes on, on the main thread.
struct Play<'a> {
    ledger: &'a mut Ledger,
    notes: Receiver<Note>,
    command: Option<Command>,
    /// How long people wrote.
    lasted: Duration,
}

impl Play<'_> {
    /// From the first connection until all that was sent has arrived and everybody is there; how much was sent on time.
    async fn whole(&mut self, people: &People, arguments: &Arguments) -> anyhow::Result<(u32, u32)> {
        self.gather(people, arguments.in_flight as usize).await?;
        self.ledger.begin();
        let (start, duration) = (Instant::now(), arguments.load.duration());
        let (end, ended) = oneshot::channel();
        let writing =
            people.write_on_time(arguments.chatting as usize, Schedule::new(start, arguments.chat_rate), ended);
        self.go_on(start, duration, arguments.command.as_deref()).await?;
        self.lasted = start.elapsed();
        drop(end);
        self.settle(writing).await
    }

    /// A bounded number connect at a time.
    async fn gather(&mut self, people: &People, in_flight: usize) -> anyhow::Result<()> {
        let total = people.len();
        let mut progress = Progress::new("connecting", total as u64);
        let mut started = 0;
        while self.ledger.live() < total {
            while started < total && started < self.ledger.live() + in_flight {
                people.start(started).await;
                started += 1;
            }
            let note = timeout(DEADLINE, self.notes.recv()).await;
            let standing = self.ledger.live();
            let note = note.with_context(|| {
                format!("only {standing} of {total} connections are ready; none in the last {DEADLINE:?}")
            })?;
            self.ledger.take(note.context("all clients are gone")?)?;
            progress.show(standing as u64, || format!("{standing} of {total} connections"));
        }
        Ok(())
    }

    async fn go_on(&mut self, start: Instant, duration: Duration, line: Option<&str>) -> anyhow::Result<()> {
        let mut progress = Progress::new("restart", duration.as_millis() as u64);
        loop {
            if let Ok(note) = timeout(TURN_MAX, self.notes.recv()).await {
                self.ledger.take(note.context("all clients are gone")?)?;
            }
            let elapsed = start.elapsed();
            let has_ended = match (&mut self.command, line) {
                (Some(command), _) => command.has_ended()?,
                (None, None) => true,
                (None, Some(line)) => {
                    if elapsed >= duration.mul_f64(BEFORE) {
                        self.command = Some(Command::start(line)?);
                    }
                    false
                }
            };
            if elapsed >= duration && has_ended {
                return Ok(());
            }
            ensure!(elapsed < duration + COMMAND_MAX, "--command did not end within {COMMAND_MAX:?}");
            progress.show(elapsed.as_millis() as u64, || self.ledger.summary());
        }
    }

    /// What never arrives, and who never comes back, is counted.
    async fn settle(&mut self, writing: Writing) -> anyhow::Result<(u32, u32)> {
        let scheduled = writing.await.context("the task that writes ended early")??;
        self.ledger.end(u64::from(scheduled.0));
        let end = Instant::now() + SETTLE_MAX;
        while !self.ledger.is_settled() && Instant::now() < end {
            match timeout(PATIENCE, self.notes.recv()).await {
                Ok(note) => self.ledger.take(note.context("all clients are gone")?)?,
                Err(_) => break,
            }
        }
        Ok(scheduled)
    }
}
