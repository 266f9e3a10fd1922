//! Databases for tests: one MariaDB and one Redis for all of them, and in these a database or key prefix for each.
//!
//! `scripts/test` starts the servers and names them in the environment. Without it the first test of a process that needs
//! one starts it with `scripts/lib/databases`; it ends with the process. Where the packages are missing, tests that need a
//! server fail and say which. Any thread. [`layers`] looks at the sources of a crate.

mod authority;
mod each_key;
pub mod layers;
mod log_lines;
mod proxy;

use std::{
    collections::HashMap,
    env,
    io::{BufRead as _, BufReader, Lines, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

pub use authority::Authority;
pub use each_key::assert_each_key_is_applied_or_named;
pub use log_lines::{keep_log_lines, logged_warnings};
pub use proxy::Proxy;

/// Where the shared MariaDB is, for this process's tests.
const MYSQL_URL: &str = "GIM_TEST_MYSQL_URL";
/// Likewise Redis.
const REDIS_URL: &str = "GIM_TEST_REDIS_URL";

/// The URL of a database that does not exist yet and that nobody else uses. It is made when a service opens it, and stays
/// until the server ends.
pub fn mysql_database() -> String {
    format!("{}/{}", shared_url(MYSQL_URL, "mysql"), unique_name())
}

/// The URL of Redis, and a prefix for keys that nobody else uses.
pub fn redis() -> (String, String) {
    (shared_url(REDIS_URL, "redis"), unique_name())
}

/// A server that one test has to itself, to do it harm. It ends when this is dropped.
#[derive(Debug)]
pub struct PrivateServer {
    /// Where it is; of MariaDB without the name of a database.
    pub url: String,
    kind: &'static str,
    child: Child,
    /// It lives until this closes.
    stdin: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl PrivateServer {
    /// A MariaDB.
    pub fn mysql() -> Self {
        Self::start("mysql", MYSQL_URL)
    }

    /// A MariaDB with options of its own.
    pub fn mysql_with(options: &str) -> Self {
        Self::start_with("mysql", MYSQL_URL, &[("GIM_TEST_MYSQL_OPTIONS", options)])
    }

    /// A MariaDB whose tables share one file of at most 25 MB.
    pub fn small_mysql() -> Self {
        let options = "--innodb-file-per-table=0 --innodb-data-file-path=ibdata1:12M:autoextend:max:25M";
        Self::mysql_with(options)
    }

    /// A MariaDB on a small disk of its own, see [`PrivateServer::fill_disk`].
    pub fn mysql_on_small_disk() -> Self {
        let options = "--innodb-log-file-size=16M --innodb-buffer-pool-size=32M";
        Self::start_with("mysql", MYSQL_URL, &[("GIM_TEST_MYSQL_DISK", "300m"), ("GIM_TEST_MYSQL_OPTIONS", options)])
    }

    /// A Redis that keeps nothing.
    pub fn redis() -> Self {
        Self::start("redis", REDIS_URL)
    }

    /// A Redis with options of its own.
    pub fn redis_with(options: &str) -> Self {
        Self::start_with("redis", REDIS_URL, &[("GIM_TEST_REDIS_OPTIONS", options)])
    }

    /// A Redis with a Sentinel that watches it, by the Sentinel's URL.
    pub fn sentinel() -> Self {
        Self::start("sentinel", "GIM_TEST_SENTINEL_URL")
    }

    /// A Redis Cluster of three.
    pub fn cluster() -> Self {
        Self::start("cluster", "GIM_TEST_CLUSTER_URL")
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.order("kill");
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        self.order("stop");
    }

    /// Starts it again unless it runs, with what it kept, where it was; it answers when this returns.
    pub fn start_again(&mut self) {
        self.order("start");
    }

    /// Leaves no room on the disk of MariaDB, of which it had one to itself.
    pub fn fill_disk(&mut self) {
        self.order("fill");
    }

    /// Makes room again.
    pub fn free_disk(&mut self) {
        self.order("free");
    }

    /// Has Redis forget everything.
    pub fn empty(&mut self) {
        self.order("empty");
    }

    fn order(&mut self, verb: &str) {
        let stdin = self.stdin.as_mut().expect("it is open until the end");
        writeln!(stdin, "{verb} {}", self.kind).expect("the script is there");
        let answer = self.answers.next().and_then(Result::ok);
        assert_eq!(answer.as_deref(), Some("done"), "{verb} {}", self.kind);
    }

    fn start(kind: &'static str, variable: &str) -> Self {
        Self::start_with(kind, variable, &[])
    }

    fn start_with(kind: &'static str, variable: &str, environment: &[(&str, &str)]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/lib/databases");
        let mut command = Command::new(&script);
        command.arg(kind).envs(environment.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("it is piped"));
        let mut answers = BufReader::new(stdout).lines();
        let said: HashMap<String, String> = answers
            .by_ref()
            .map_while(Result::ok)
            .take_while(|line| line != "ready")
            .filter_map(|line| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
            .collect();
        let Some(url) = said.get(variable).cloned() else {
            panic!("no {kind} server for this test: {} says above what is missing", script.display());
        };
        Self { url, kind, child, stdin, answers }
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if let Err(error) = self.child.wait() {
            tracing::error!(%error, "a test server was not waited for");
        }
    }
}

fn shared_url(variable: &'static str, kind: &'static str) -> String {
    static STARTED: Mutex<Option<HashMap<&'static str, PrivateServer>>> = Mutex::new(None);
    if let Ok(url) = env::var(variable) {
        return url;
    }
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    let started = started.get_or_insert_default();
    // A static is never dropped: the pipe to the script closes when the process ends.
    started.entry(kind).or_insert_with(|| PrivateServer::start(kind, variable)).url.clone()
}

fn unique_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("test_{}_{number}_{:08x}", std::process::id(), rand::random::<u32>())
}
