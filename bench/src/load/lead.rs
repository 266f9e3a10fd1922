//! The side of the leader: starts the parts, lets them go on together, shows how far they are, and adds up what they count.
//! The main thread does that; one thread per part reads what it says.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use serde_json::Value;

use crate::{
    counts::{Counts, Findings},
    part::Part,
    progress::{self, Progress},
};

/// Longest silence of all parts: each says something twice a second.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// After one part has failed, the others are given so long to tell what they have.
const GRACE: Duration = Duration::from_secs(5);

/// Warnings of parts that are passed on; they mostly say the same.
const WARNINGS_MAX: usize = 3;

/// A line of a part, or its end.
type Said = (usize, Option<Value>);

/// Runs a scenario in `count` processes, each with `options` beside the arguments of this one. At each point where all of
/// them have come, `at_point` is called before they go on.
pub fn lead(
    count: usize,
    options: &[String],
    findings: &mut Findings,
    mut at_point: impl FnMut(&str, &mut Counts) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (said, hears) = channel();
    let parts = (0..count).map(|number| Running::start(Part { number, of: count }, options, &said));
    let mut parts = Parts {
        parts: parts.collect::<anyhow::Result<_>>()?,
        progress: Progress::new("starting", 1),
        warnings: Vec::new(),
        failure: None,
        give_up_at: None,
    };
    drop(said);
    let ended = parts.follow(&hears, findings, &mut at_point);
    parts.tell(findings);
    ended?;
    parts.failure.take().map_or(Ok(()), Err)
}

/// One part.
struct Running {
    child: Child,
    input: ChildStdin,
    /// The point where it waits.
    at: Option<String>,
    /// Connections of it that are ready.
    standing: u64,
    /// What it does, how far it is, of how much.
    step: (String, u64, u64),
    is_over: bool,
}

impl Running {
    fn start(part: Part, options: &[String], said: &Sender<Said>) -> anyhow::Result<Self> {
        let program = env::current_exe().context("cannot find gim-bench itself")?;
        let mut command = Command::new(program);
        command.args(env::args_os().skip(1)).args(options).arg("--part").arg(part.to_string());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start client process {part}"))?;
        let input = child.stdin.take().context("a client process has no input")?;
        let output = child.stdout.take().context("a client process has no output")?;
        let said = said.clone();
        let listen = move || listen(part.number, output, &said);
        thread::Builder::new().name("part".into()).spawn(listen).context("cannot start a thread")?;
        Ok(Self { child, input, at: None, standing: 0, step: (String::new(), 0, 1), is_over: false })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is gone already where either fails.
        let _is_gone = self.child.kill().and_then(|()| self.child.wait()).is_err();
    }
}

fn listen(number: usize, output: ChildStdout, said: &Sender<Said>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Ok(line) = serde_json::from_str(&line)
            && said.send((number, Some(line))).is_err()
        {
            return;
        }
    }
    // Nobody listens any more where the run is over.
    let _run_is_over = said.send((number, None)).is_err();
}

/// All parts.
struct Parts {
    parts: Vec<Running>,
    progress: Progress,
    warnings: Vec<String>,
    failure: Option<anyhow::Error>,
    give_up_at: Option<Instant>,
}

impl Parts {
    fn follow(
        &mut self,
        hears: &Receiver<Said>,
        findings: &mut Findings,
        at_point: &mut impl FnMut(&str, &mut Counts) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        while self.parts.iter().any(|part| !part.is_over) {
            let patience = self.give_up_at.map_or(SILENCE_MAX, |at| at.saturating_duration_since(Instant::now()));
            match hears.recv_timeout(patience) {
                Ok((number, Some(line))) => self.take(number, &line, findings)?,
                Ok((number, None)) => self.ended(number),
                Err(_) if self.give_up_at.is_some() => return Ok(()),
                Err(RecvTimeoutError::Timeout) => return Err(anyhow!("the client processes fell silent")),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if let Some(point) = self.common_point() {
                at_point(&point, &mut findings.counts)?;
                self.go_on()?;
            }
            self.show();
        }
        Ok(())
    }

    fn take(&mut self, number: usize, line: &Value, findings: &mut Findings) -> anyhow::Result<()> {
        let part = &mut self.parts[number];
        if let Some(standing) = line["standing"].as_u64() {
            part.standing = standing;
        }
        if let Some(point) = line["at"].as_str() {
            part.at = Some(point.to_owned());
        } else if let Some(step) = line["step"].as_str() {
            let number = |key: &str| line[key].as_u64().unwrap_or_default();
            part.step = (step.to_owned(), number("done"), number("total"));
        } else if line["counts"].is_object() {
            part.is_over = true;
            findings.counts.merge(&Counts::from_json(&line["counts"])?);
            self.warnings
                .extend(line["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
            if let Some(error) = line["error"].as_str() {
                self.fail(anyhow!("{error}"));
            }
        }
        Ok(())
    }

    fn ended(&mut self, number: usize) {
        if !std::mem::replace(&mut self.parts[number].is_over, true) {
            self.fail(anyhow!("client process {number} ended early"));
        }
    }

    /// The first failure is the one to tell.
    fn fail(&mut self, error: anyhow::Error) {
        self.failure.get_or_insert(error);
        self.give_up_at.get_or_insert_with(|| Instant::now() + GRACE);
    }

    fn common_point(&self) -> Option<String> {
        let mut running = self.parts.iter().filter(|part| !part.is_over);
        let point = running.next()?.at.clone()?;
        running.all(|part| part.at.as_ref() == Some(&point)).then_some(point)
    }

    fn go_on(&mut self) -> anyhow::Result<()> {
        for part in self.parts.iter_mut().filter(|part| !part.is_over) {
            part.at = None;
            part.input.write_all(b"go\n").context("a client process is gone")?;
        }
        Ok(())
    }

    fn show(&mut self) {
        progress::set_standing(self.parts.iter().map(|part| part.standing).sum());
        // What most of them do.
        let mut steps: BTreeMap<&str, (usize, u64, u64)> = BTreeMap::new();
        for part in self.parts.iter().filter(|part| !part.is_over && part.at.is_none()) {
            let (step, done, total) = &part.step;
            let (parts, all_done, all) = steps.entry(step).or_default();
            (*parts, *all_done, *all) = (*parts + 1, *all_done + done, *all + total);
        }
        let Some((&step, &(_, done, total))) = steps.iter().max_by_key(|(_, (parts, ..))| *parts) else { return };
        let (step, standing, parts) = (step.to_owned(), progress::standing(), self.parts.len());
        if step != self.progress.step() {
            self.progress = Progress::new(&step, total);
        }
        self.progress.resize(total);
        self.progress.show(done, || format!("{standing} connections in {parts} processes"));
    }

    fn tell(&mut self, findings: &mut Findings) {
        let count = self.warnings.len();
        findings.warnings.extend(self.warnings.drain(..).take(WARNINGS_MAX));
        if count > WARNINGS_MAX {
            findings
                .warnings
                .push(format!("and {} more of this kind from other client processes", count - WARNINGS_MAX));
        }
    }
}
