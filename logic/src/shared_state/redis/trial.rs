//! The first word with Redis when a service starts: whether it is away, or the settings are mistaken. Owned by the task that starts.

use std::time::Duration;

use gim_config::patience::Patience;
use redis::cmd;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::client::RedisClient;
use crate::{settings::RedisTarget, shared_state::SharedStateError};

/// How long a server may take to show what it speaks.
const PROBE_MAX: Duration = Duration::from_secs(1);

const NO_RIGHTS: &str = "the rights of the user in shared_state.url";

const NO_CLUSTER: &str = "shared_state.url: this is no cluster, write redis:// in place of redis+cluster://";

/// What Redis and its library say of settings that are mistaken, in lower case, and what to look at.
const MISTAKES: [(&str, &str); 12] = [
    ("wrongpass", "the user and the password in shared_state.url"),
    ("noauth", "the user and the password in shared_state.url"),
    ("authenticationfailed", "the user and the password in shared_state.url"),
    ("noperm", NO_RIGHTS),
    ("db index", "the number of the database in shared_state.url"),
    ("masternamenotfound", "the service in shared_state.url"),
    ("certificate", "ssl-ca, ssl-cert and the host in shared_state.url"),
    ("invalidcontenttype", "shared_state.url asks for TLS: is it spoken at this port?"),
    ("invalidclientconfig", "shared_state.url"),
    ("cluster support disabled", NO_CLUSTER),
    ("unknown command 'cluster'", NO_CLUSTER),
    ("unknown command", "shared_state.url: is this the port of a Redis, and not of a Sentinel?"),
];

/// A TLS record that is no greeting, and to a Redis without TLS a line: both answer it.
const NO_GREETING: &[u8] = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n";

/// The first bytes of records of TLS: an alert, or a handshake.
const TLS_RECORDS: [u8; 2] = [0x15, 0x16];

impl RedisClient {
    /// Asks for a sign of life. [`SharedStateError::Mistaken`] where nobody gets one without changing a setting.
    pub(super) async fn try_out(&self, target: &RedisTarget) -> Result<(), SharedStateError> {
        let problem = match self.run::<()>(cmd("PING")).await {
            Ok(()) => return Ok(()),
            Err(SharedStateError::Away(problem)) => problem,
            Err(error) => return Err(error),
        };
        let mistake = match mistake(&problem) {
            None => other_protocol(target).await,
            mistake => mistake,
        };
        Err(match mistake {
            // Who may not even ask for that may do the rest.
            Some(NO_RIGHTS) => return Ok(()),
            Some(mistake) => SharedStateError::Mistaken(format!("Redis at {target}: {problem} ({mistake})")),
            None => SharedStateError::Away(problem),
        })
    }
}

/// Waits until it is time for the next try, where one may help.
pub(super) async fn wait(patience: &mut Patience, problem: &str) -> Result<(), SharedStateError> {
    if let Some(mistake) = mistake(problem) {
        return Err(SharedStateError::Mistaken(format!("{problem} ({mistake})")));
    }
    patience.wait(&problem).await;
    Ok(())
}

/// What is mistaken where Redis says this.
fn mistake(problem: &str) -> Option<&'static str> {
    let problem = problem.to_lowercase();
    MISTAKES.iter().find(|(words, _)| problem.contains(words)).map(|(_, mistake)| *mistake)
}

/// Whether a server speaks TLS where none is expected, or the other way round.
async fn other_protocol(target: &RedisTarget) -> Option<&'static str> {
    for (host, port) in &target.servers {
        let greeting = if target.tls.is_some() { b"PING\r\n" } else { NO_GREETING };
        let Ok(Ok(answer)) = timeout(PROBE_MAX, first_byte(host, *port, greeting)).await else { continue };
        return match answer {
            b'+' | b'-' if target.tls.is_some() => Some("it speaks no TLS: write redis in place of rediss"),
            answer if target.tls.is_none() && TLS_RECORDS.contains(&answer) => {
                Some("it speaks TLS: write rediss in place of redis")
            }
            _ => None,
        };
    }
    None
}

async fn first_byte(host: &str, port: u16, greeting: &[u8]) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.write_all(greeting).await?;
    stream.read_u8().await
}
