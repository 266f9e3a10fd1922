//! The command of whoever asks, by which nodes are restarted: a child process that the main thread looks at now and then.

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

/// One that runs, or has run. Dropped, it is killed where it still runs.
#[derive(Debug)]
pub struct Command {
    child: Child,
    started: Instant,
    /// How long it took, once it has ended well.
    pub lasted: Option<Duration>,
}

impl Command {
    /// Has a shell run it.
    pub fn start(line: &str) -> anyhow::Result<Self> {
        let mut shell = std::process::Command::new("sh");
        // What it says goes to people: standard output is for the result.
        let shell = shell.args(["-c", line]).stdin(Stdio::null()).stdout(std::io::stderr());
        let child = shell.spawn().context("--command: cannot start a shell")?;
        Ok(Self { child, started: Instant::now(), lasted: None })
    }

    /// Whether it has ended; an error where it did not end well.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        if self.lasted.is_none()
            && let Some(status) = self.child.try_wait().context("--command: cannot be waited for")?
        {
            ensure!(status.success(), "--command did not end well: {status}");
            self.lasted = Some(self.started.elapsed());
        }
        Ok(self.lasted.is_some())
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        if self.lasted.is_none() {
            // One that has ended by itself is gone already.
            let _ended = self.child.kill().and_then(|()| self.child.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(line: &str) -> anyhow::Result<Command> {
        let mut command = Command::start(line)?;
        while !command.has_ended()? {}
        Ok(command)
    }

    #[test]
    fn a_command_has_to_end_well() {
        assert!(ended("true").unwrap().lasted.is_some());
        assert_eq!(ended("exit 3").unwrap_err().to_string(), "--command did not end well: exit status: 3");
    }

    #[test]
    fn a_command_that_still_runs_ends_with_the_run() {
        let mut command = Command::start("exec sleep 60").unwrap();
        assert!(!command.has_ended().unwrap());
        drop(command);
    }
}
