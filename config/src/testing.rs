//! Databases for tests: one MariaDB and one Redis for all of them, and in these a database or key prefix for each.
//!
//! `scripts/test` starts the servers and names them in the environment. Without it the first test of a process that needs
//! one starts it with `scripts/lib/databases`; it ends with the process. Where the packages are missing, tests that need a
//! server fail and say which. Any thread.

mod proxy;

use std::{
    collections::HashMap,
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

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
    child: Child,
    /// It lives until this closes.
    stdin: Option<ChildStdin>,
}

impl PrivateServer {
    /// A MariaDB.
    pub fn mysql() -> Self {
        Self::start("mysql", MYSQL_URL)
    }

    /// A Redis that keeps nothing.
    pub fn redis() -> Self {
        Self::start("redis", REDIS_URL)
    }

    fn start(kind: &str, variable: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/lib/databases");
        let mut command = Command::new(&script);
        command.arg(kind).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("it is piped"));
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let said: HashMap<String, String> = lines
            .take_while(|line| line != "ready")
            .filter_map(|line| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
            .collect();
        let Some(url) = said.get(variable).cloned() else {
            panic!("no {kind} server for this test: {} says above what is missing", script.display());
        };
        Self { url, child, stdin }
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
