//! The frame of every `main`: load, start, wait for a signal, drain; any failure is one sentence and exit code 1.

use std::{fmt::Display, future::Future, process::ExitCode, time::Duration};

use metrics::gauge;

use crate::{
    admin::{self, Admin},
    arguments::ServiceArguments,
    file_watch::{FileWatch, WatchedFiles},
    files,
    logging::LogSettings,
    metrics as names, ready_check,
    reload::Reload,
    reload_requests::ReloadOutcome,
    settings::{self, Settings},
    shutdown::{self, StopSignals},
    supervisor::Supervisor,
    trace_export,
};

/// Something that was started and can be stopped in order.
pub trait Running {
    /// Of the service.
    type Settings: Settings + Sync;

    /// Says what runs where, in one line.
    fn summary(&self) -> String;

    /// SIGHUP: whether the files that these settings name can be applied with them. Where they cannot, the settings are refused.
    fn check(&self, settings: &Self::Settings) -> Result<(), String> {
        let _names_no_files = settings;
        Ok(())
    }

    /// SIGHUP: reads the files again that settings name, and takes over of `settings` what [`Settings::RELOADED`] promises; there are none
    /// where they were refused.
    ///
    /// # Errors
    /// What stays as it was, and why.
    fn reload(&mut self, settings: Option<&Self::Settings>) -> impl Future<Output = Result<(), String>> + Send {
        let _nothing_to_read = settings;
        std::future::ready(Ok(()))
    }

    /// Its admin listener.
    fn admin(&mut self) -> &mut Admin;

    /// Waits until somebody who may asks the service to stop in another way than by a signal; where there is none, for ever.
    fn asked_to_stop(&self) -> impl Future<Output = ()> + Send + 'static {
        std::future::pending()
    }

    /// Waits until the service fails by itself; a healthy one never does.
    fn failed(&mut self) -> impl Future<Output = String> + Send;

    /// Refuses new work, finishes what is under way, returns.
    fn stop(self) -> impl Future<Output = ()> + Send;
}

/// Runs a service from its command line to its exit code.
///
/// Exit code 0 after a clean stop and 1 where it could not start or failed. Where a signal ended it at once, during the start or as
/// the second one, it is 128 and the signal's number, as shells tell it: 143 for SIGTERM, 130 for SIGINT.
pub fn run<S, R, E, F, Fut>(arguments: &ServiceArguments, log: fn(&S) -> &LogSettings, start: F) -> ExitCode
where
    S: Settings + Sync,
    R: Running<Settings = S>,
    E: Display,
    F: FnOnce(S) -> Fut,
    Fut: Future<Output = Result<R, E>>,
{
    if arguments.check_ready {
        return check_ready::<S>(arguments);
    }
    files::keep_private();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(S::SERVICE, error),
    };
    // Before anything that takes time: until then a signal has its default, which ends the process.
    let signals = match runtime.block_on(async { StopSignals::listen() }) {
        Ok(signals) => signals,
        Err(error) => return refuse(S::SERVICE, error),
    };
    let settings: S = match settings::load_for(arguments) {
        Ok(settings) => settings,
        Err(error) => return refuse(S::SERVICE, error),
    };
    let writes_at_the_end = crate::logging::start(log(&settings), S::SERVICE, settings.node());
    tell_build(S::SERVICE, arguments);
    let reload = Reload::new(arguments, &settings, log);
    let ended = runtime.block_on(supervise(signals, reload, settings, start));
    // Whatever still runs is idle work: it must not hold up the exit.
    runtime.shutdown_background();
    // The reason of the end is the last line: what was logged before it stands before it.
    drop(writes_at_the_end);
    ended.unwrap_or_else(|problem| refuse(S::SERVICE, problem))
}

/// So that it can be seen which node runs what.
fn tell_build(service: &'static str, arguments: &ServiceArguments) {
    admin::metrics_handle();
    let commit = arguments.commit.unwrap_or("unknown");
    let version = env!("CARGO_PKG_VERSION");
    gauge!(names::BUILD_INFO, "service" => service, "version" => version, "commit" => commit).set(1.0);
}

fn check_ready<S: Settings>(arguments: &ServiceArguments) -> ExitCode {
    let settings: S = match settings::load_for(arguments) {
        Ok(settings) => settings,
        Err(error) => return refuse(S::SERVICE, error),
    };
    match ready_check::ask(settings.admin()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(S::SERVICE, error),
    }
}

/// Does something else with what a service keeps, from its command line to its exit code: prints what was done. Ends as [`run`]
/// does where it cannot; a signal ends it at once.
#[allow(clippy::print_stdout)]
pub fn run_once<S, E, Fut>(
    arguments: &ServiceArguments,
    log: fn(&S) -> &LogSettings,
    work: impl FnOnce(S) -> Fut,
) -> ExitCode
where
    S: Settings,
    E: Display,
    Fut: Future<Output = Result<String, E>>,
{
    files::keep_private();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(S::SERVICE, error),
    };
    let settings: S = match settings::load_for(arguments) {
        Ok(settings) => settings,
        Err(error) => return refuse(S::SERVICE, error),
    };
    let writes_at_the_end = crate::logging::start(log(&settings), S::SERVICE, settings.node());
    let worked = runtime.block_on(work(settings));
    drop(writes_at_the_end);
    match worked {
        Ok(done) => {
            println!("gim-{}: {done}", S::SERVICE);
            ExitCode::SUCCESS
        }
        Err(error) => refuse(S::SERVICE, error),
    }
}

/// From the start to the end; an error is why it did not start, or could not go on.
async fn supervise<S, R, E, F, Fut>(
    mut signals: StopSignals,
    mut reload: Reload<S>,
    settings: S,
    start: F,
) -> Result<ExitCode, String>
where
    S: Settings + Sync,
    R: Running<Settings = S>,
    E: Display,
    F: FnOnce(S) -> Fut,
    Fut: Future<Output = Result<R, E>>,
{
    let service = S::SERVICE;
    if let Some(traces) = settings.traces()
        && let Err(problem) = trace_export::start(traces, service, settings.node())
    {
        return Err(problem.to_string());
    }
    // Before they are read, so that no change is missed.
    let interval = Duration::from_millis(settings.files_interval_ms());
    let watched = (!interval.is_zero()).then(|| WatchedFiles { files: reload.files(&settings), interval });
    let mut files = FileWatch::new(watched);
    let mut running = tokio::select! {
        started = start(settings) => match started {
            Ok(running) => running,
            Err(error) => return Err(error.to_string()),
        },
        signal = signals.next() => {
            tokio::select! {
                () = shutdown::settled() => {}
                _ = signals.next() => {}
            }
            return Ok(signal.exit_code());
        }
    };
    tracing::info!(service, "{}", running.summary());
    let supervisor = Supervisor::from_environment();
    supervisor.started(&running.summary());
    let _signs_of_life = supervisor.watchdog();
    let mut asked_to_stop = Box::pin(running.asked_to_stop());
    let mut requests = running.admin().reload_requests().expect("nobody else takes them");
    let why = loop {
        let (mut asked, mut read_why) = (None, Why::Asked);
        tokio::select! {
            signal = signals.next_or_reload() => {
                if let Some(signal) = signal {
                    break signal.to_string();
                }
            }
            reply = requests.next() => asked = Some(reply),
            are_others = files.changed() => read_why = if are_others { Why::Changed } else { Why::TriedAgain },
            () = &mut asked_to_stop => break "an operator".to_owned(),
            problem = running.failed() => return Err(problem),
        }
        supervisor.reloading();
        let outcome = read_again(&mut running, &mut reload, &mut files, read_why).await;
        if let Some(reply) = asked {
            // Whoever asked may not have waited.
            drop(reply.send(outcome));
        }
        supervisor.started(&running.summary());
    };
    running.admin().tell_that_it_stops();
    // Whoever asks now, or still waits, hears that the service stops.
    drop(requests);
    supervisor.stopping();
    tracing::info!(service, signal = %why, "stopping; a second signal stops at once");
    let stopped = async {
        running.stop().await;
        trace_export::stop().await;
    };
    tokio::select! {
        () = stopped => {
            tracing::info!(service, "stopped");
            Ok(ExitCode::SUCCESS)
        }
        signal = signals.next() => {
            tracing::warn!(service, %signal, "stopped at once");
            Ok(signal.exit_code())
        }
    }
}

/// Why settings and files are read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Somebody wants it.
    Asked,
    /// Some are others than those that were read.
    Changed,
    /// They were of no use, and may be by now.
    TriedAgain,
}

/// What SIGHUP does, or a change of the settings file or of files that settings name.
async fn read_again<S, R>(running: &mut R, reload: &mut Reload<S>, files: &mut FileWatch, why: Why) -> ReloadOutcome
where
    S: Settings + Sync,
    R: Running<Settings = S>,
{
    files.note();
    let (settings, of_settings) = match reload.read(|settings| running.check(settings)) {
        Ok(settings) => (Some(settings), None),
        Err(problem) if why == Why::TriedAgain && reload.has_told(&problem) => {
            return reload.conclude(None, Some(problem), false);
        }
        Err(problem) => (None, Some(problem)),
    };
    if let Some(settings) = &settings {
        files.look_at(reload.files(settings));
    }
    let of_files = running.reload(settings.as_ref()).await.err();
    files.note_use(of_settings.is_none() && of_files.is_none());
    let problems: Vec<String> = of_settings.into_iter().chain(of_files).collect();
    let problem = (!problems.is_empty()).then(|| problems.join("; "));
    reload.conclude(settings.as_ref(), problem, why == Why::Asked)
}

/// The one line that a person, or the script that started us, reads.
#[allow(clippy::print_stderr)]
fn refuse(service: &str, problem: impl Display) -> ExitCode {
    eprintln!("gim-{service}: {problem}");
    ExitCode::FAILURE
}
