//! A service as a process of its own: the real binary, with a log that is kept where a check fails.

use std::{
    env, fs,
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::Instant,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::cluster::{ASK_INTERVAL, DEADLINE};

pub struct Program {
    pub name: String,
    path: PathBuf,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Program {
    /// A node of a service, with settings such as `NODE` or `GRPC__LISTEN`. Not started yet.
    pub fn new(service: &str, name: &str, folder: &Path, settings: &[(&str, String)]) -> Self {
        let variable = |key: &str| format!("GIM_{}_{key}", service.to_uppercase());
        Self {
            name: name.to_owned(),
            path: programs().join(format!("gim-{service}")),
            environment: settings.iter().map(|(key, value)| (variable(key), value.clone())).collect(),
            log: folder.join(format!("{name}.log")),
            child: None,
        }
    }

    pub fn start(&mut self) {
        // The kernel ends it with the thread that started it, which is that of the test.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.path).envs(self.environment.iter().cloned());
        let log = || -> File { OpenOptions::new().create(true).append(true).open(&self.log).unwrap() };
        command.stdin(Stdio::null()).stdout(log()).stderr(log());
        self.child = Some(command.spawn().unwrap());
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends it in order, which it has to do in time and without complaint.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let mut child = self.child.take().expect("it runs");
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{} did not stop within {DEADLINE:?}", self.name);
            }
            thread::sleep(ASK_INTERVAL);
        };
        assert!(status.success(), "{} was stopped in order and ended with {status}", self.name);
    }

    /// Stops its time.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Fails where it ended by itself.
    pub fn check_alive(&mut self) {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait().unwrap()
        {
            let log = fs::read_to_string(&self.log).unwrap();
            let lines: Vec<&str> = log.lines().collect();
            panic!("{} ended by itself ({status}): {}", self.name, lines[lines.len().saturating_sub(5)..].join("\n"));
        }
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folder of the binaries, which are built here: running one test alone would leave them as they were.
fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let cargo = env::var_os("CARGO").expect("tests run under cargo");
        let mut build = Command::new(cargo);
        // What cargo tells a test of its package makes build scripts run again, and all that depends on them.
        let is_told = |name: &str| ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|prefix| name.starts_with(prefix));
        for (name, _) in env::vars().filter(|(name, _)| is_told(name)) {
            build.env_remove(name);
        }
        let build = build
            // With a test among them, they share what was built for the tests.
            .args(["build", "--locked", "--workspace", "--bins", "--test", "checker", "--quiet", "--profile", profile])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .status();
        assert!(build.unwrap().success(), "the services do not build");
        Path::new(env!("CARGO_BIN_EXE_gim-bench")).parent().unwrap().to_owned()
    })
}
