//! The frame of every `main`: load, start, wait for a signal, drain; any failure is one sentence and exit code 1.

use std::{fmt::Display, future::Future, process::ExitCode};

use crate::{ServiceArguments, Settings, settings, shutdown::StopSignals};

/// Something that was started and can be stopped in order.
pub trait Running {
    /// Says what runs where, in one line.
    fn summary(&self) -> String;

    /// SIGHUP: reads again what may change while it runs.
    fn reload(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Waits until the service fails by itself; a healthy one never does.
    fn failed(&mut self) -> impl Future<Output = String> + Send;

    /// Refuses new work, finishes what is under way, returns.
    fn stop(self) -> impl Future<Output = ()> + Send;
}

/// Runs a service from its command line to its exit code.
///
/// Exit code 0 after a clean stop, 1 where it could not start or failed, 130 where a second signal stopped it at once.
pub fn run<S, R, E, F, Fut>(
    arguments: &ServiceArguments,
    log: impl FnOnce(&S) -> &crate::logging::LogSettings,
    start: F,
) -> ExitCode
where
    S: Settings,
    R: Running,
    E: Display,
    F: FnOnce(S) -> Fut,
    Fut: Future<Output = Result<R, E>>,
{
    let settings: S = match settings::load_for(arguments) {
        Ok(settings) => settings,
        Err(error) => return refuse(S::SERVICE, error),
    };
    let _writes_at_the_end = crate::logging::start(log(&settings));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(S::SERVICE, error),
    };
    let code = runtime.block_on(supervise(S::SERVICE, settings, start));
    // Whatever still runs is idle work: it must not hold up the exit.
    runtime.shutdown_background();
    code
}

async fn supervise<S, R, E, F, Fut>(service: &'static str, settings: S, start: F) -> ExitCode
where
    R: Running,
    E: Display,
    F: FnOnce(S) -> Fut,
    Fut: Future<Output = Result<R, E>>,
{
    let mut signals = match StopSignals::listen() {
        Ok(signals) => signals,
        Err(error) => return refuse(service, error),
    };
    let mut running = tokio::select! {
        started = start(settings) => match started {
            Ok(running) => running,
            Err(error) => return refuse(service, error),
        },
        _ = signals.next() => return ExitCode::from(130),
    };
    tracing::info!(service, "{}", running.summary());
    let name = loop {
        tokio::select! {
            name = signals.next_or_reload() => {
                if let Some(name) = name {
                    break name;
                }
            }
            problem = running.failed() => return refuse(service, problem),
        }
        running.reload().await;
    };
    tracing::info!(service, signal = name, "stopping; a second signal stops at once");
    tokio::select! {
        () = running.stop() => {
            tracing::info!(service, "stopped");
            ExitCode::SUCCESS
        }
        name = signals.next() => {
            tracing::warn!(service, signal = name, "stopped at once");
            ExitCode::from(130)
        }
    }
}

/// The one line that a person, or the script that started us, reads.
#[allow(clippy::print_stderr)]
fn refuse(service: &str, problem: impl Display) -> ExitCode {
    eprintln!("gim-{service}: {problem}");
    ExitCode::FAILURE
}
