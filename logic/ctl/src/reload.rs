//! `reload`: has services of this host read their settings again, as SIGHUP does, and tells what came of it. Asks admin listeners.

use std::net::SocketAddr;

use gim_config::{
    admin_page,
    listen::Endpoint,
    reload_requests::{HEADER, ReloadOutcome},
};
use serde_json::{Value, json};

use crate::{answer::Answer, status::socket_of};

/// Whom to ask.
#[derive(Debug, clap::Args)]
pub struct ReloadArguments {
    /// Admin listeners of services on this host, as their settings have them in [admin] listen: 127.0.0.1:8011
    #[arg(required = true, value_name = "ADDRESS")]
    admins: Vec<String>,
}

/// Why one was not asked, or did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The address is none.
    #[error("{address}: {problem}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody is there.
    #[error("nobody answers at {address}: {source}")]
    Away {
        /// Whom we asked.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It does not do it.
    #[error("{address}: {problem}")]
    Refused {
        /// Whom we asked.
        address: String,
        /// In its words.
        problem: String,
    },
    /// It does not know how.
    #[error(
        "{address} cannot be asked to read its settings: it is older than this gim-ctl, or no service of gim; SIGHUP does the same"
    )]
    Old {
        /// Whom we asked.
        address: String,
    },
}

/// Asks one after the other, also after one that is away; nobody is asked where an address is none. All is well where each did it and
/// nothing was refused.
pub fn run(arguments: &ReloadArguments) -> Result<Answer, ReloadError> {
    let sockets: Vec<_> =
        arguments.admins.iter().map(|address| Ok((address.as_str(), socket(address)?))).collect::<Result<_, _>>()?;
    let mut asked: Vec<_> = sockets.into_iter().map(|(address, socket)| (address, ask(address, socket))).collect();
    if let [(_, Err(_))] = &asked[..] {
        asked.remove(0).1?;
    }
    let lines: Vec<String> = asked.iter().map(|(address, asked)| line(address, asked)).collect();
    let is_good = asked.iter().all(|(_, asked)| asked.as_ref().is_ok_and(|outcome| outcome.problem.is_none()));
    let services: Vec<Value> = asked.iter().map(|(address, asked)| json_of(address, asked)).collect();
    Ok(Answer { text: lines.join("\n"), json: json!({"services": services}), is_good })
}

fn socket(address: &str) -> Result<SocketAddr, ReloadError> {
    let fail = |problem: String| ReloadError::Address { address: address.to_owned(), problem };
    let endpoint: Endpoint = address.parse().map_err(fail)?;
    socket_of(&endpoint).map_err(fail)
}

fn ask(address: &str, socket: SocketAddr) -> Result<ReloadOutcome, ReloadError> {
    let answered = admin_page::post(socket, "/reload", HEADER);
    let address = address.to_owned();
    match answered {
        Err(source) => Err(ReloadError::Away { address, source }),
        Ok((200, told)) => serde_json::from_str(&told).map_err(|_| ReloadError::Old { address }),
        // So speak the listeners of gRPC.
        Ok((403, said)) if said.contains("host: is no address or name of this service") => {
            let problem = "no admin listener is here: is it the port of [admin] listen?".to_owned();
            Err(ReloadError::Refused { address, problem })
        }
        Ok((403 | 503, said)) => Err(ReloadError::Refused { address, problem: said.trim().to_owned() }),
        Ok(_) => Err(ReloadError::Old { address }),
    }
}

/// An error names the address itself.
fn line(address: &str, asked: &Result<ReloadOutcome, ReloadError>) -> String {
    match asked {
        Ok(outcome) => format!("{address}: {}", told(outcome)),
        Err(error) => error.to_string(),
    }
}

fn told(outcome: &ReloadOutcome) -> String {
    let ReloadOutcome { applied, waiting, problem } = outcome;
    let mut parts = Vec::new();
    if let Some(problem) = problem {
        let is_all = applied.is_empty() && waiting.is_empty();
        let stays = if is_all { "refused, and what is set stays as it was" } else { "refused, and stays as it was" };
        parts.push(format!("{stays}: {problem}"));
    }
    if !applied.is_empty() {
        parts.push(format!("applied {}", applied.join(", ")));
    }
    if !waiting.is_empty() {
        parts.push(format!("changes that need a restart: {}", waiting.join(", ")));
    }
    if parts.is_empty() {
        parts.push("no setting changed; the files that they name were read again".to_owned());
    }
    parts.join("; ")
}

fn json_of(address: &str, asked: &Result<ReloadOutcome, ReloadError>) -> Value {
    let (applied, waiting, problem) = match asked {
        Ok(ReloadOutcome { applied, waiting, problem }) => (applied.as_slice(), waiting.as_slice(), problem.clone()),
        Err(error) => (&[][..], &[][..], Some(error.to_string())),
    };
    json!({"admin": address, "applied": applied, "needs_restart": waiting, "problem": problem})
}
