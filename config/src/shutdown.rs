//! Signals: SIGHUP reads again what may change; the first SIGTERM or SIGINT asks a service to drain, a second one to stop at once.
//! Those that mean nothing here are taken and forgotten, since their default would end the process.

use std::{fmt, io, process::ExitCode};

use nix::libc;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{RwLock, RwLockReadGuard},
};

/// Held by work that a stop must not cut off.
static UNDER_WAY: RwLock<()> = RwLock::const_new(());

/// Has a stop during a start wait until this is dropped.
pub async fn hold() -> RwLockReadGuard<'static, ()> {
    UNDER_WAY.read().await
}

/// Waits until nobody holds.
pub async fn settled() {
    drop(UNDER_WAY.write().await);
}

/// Signals that end a process by default, that people and supervisors send to other programs, and that mean nothing to this one;
/// the real-time signals are others. Without SIGXFSZ, a write beyond the limit of a file's size fails, as one to a full disk does.
const IGNORED: [libc::c_int; 10] = [
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSTKFLT,
];

/// The stop signals of this process.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// A signal that stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM, of a supervisor.
    Terminate,
    /// SIGINT, of a terminal.
    Interrupt,
}

impl StopSignal {
    /// The exit code of a process that it ended: 128 and its number, as shells tell it.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Terminate => ExitCode::from(143),
            Self::Interrupt => ExitCode::from(130),
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        })
    }
}

impl StopSignals {
    /// Takes the signals over from their default, which ends the process.
    pub fn listen() -> io::Result<Self> {
        for ignored in ignored() {
            match signal(SignalKind::from_raw(ignored)) {
                Ok(taken_over) => drop(taken_over), // it stays so
                // A tool that the process runs in, as valgrind, keeps the last one for itself.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one of any kind; `None` for SIGHUP.
    pub async fn next_or_reload(&mut self) -> Option<StopSignal> {
        tokio::select! {
            _ = self.terminate.recv() => Some(StopSignal::Terminate),
            _ = self.interrupt.recv() => Some(StopSignal::Interrupt),
            _ = self.hangup.recv() => None,
        }
    }

    /// Waits for the next one that stops.
    pub async fn next(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.terminate.recv() => StopSignal::Terminate,
            _ = self.interrupt.recv() => StopSignal::Interrupt,
        }
    }
}

fn ignored() -> impl Iterator<Item = libc::c_int> {
    IGNORED.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX())
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command};

    use super::*;

    #[tokio::test]
    async fn signals_that_mean_nothing_neither_end_a_process_nor_stop_it() {
        let mut signals = StopSignals::listen().unwrap();
        let process_id = process::id().to_string();
        let send = |number: libc::c_int| {
            let script = "kill -\"$0\" \"$1\"";
            let status = Command::new("sh").args(["-c", script, &number.to_string(), &process_id]).status();
            assert!(status.unwrap().success(), "signal {number}");
        };
        ignored().for_each(send);
        assert!(ignored().any(|number| number == 64), "the real-time signals are among them");
        send(libc::SIGHUP);
        assert_eq!(signals.next_or_reload().await, None, "the first that is told of");
    }
}
