//! `push`: a message of the operator to the users in a file, so many per second, which goes on where it was stopped.
//!
//! - [`user_list`]: the users in the file.
//! - [`journal`]: what was pushed already.
//!
//! Always holds: before the first message goes out the whole file was read and found good; and of what is stored nobody gets anything
//! twice, however often it was stopped, as long as logic keeps the message.

mod journal;
mod user_list;

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gim_proto::logic::{PushToUsersRequest, message_int_service_client::MessageIntServiceClient};
use serde_json::json;

use self::{
    journal::{Journal, JournalError},
    user_list::ListError,
};
use crate::{
    answer::Answer,
    progress::Progress,
    remote::{Remote, RemoteArguments, RemoteError},
};

/// Between two tries of the same batch: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// What to push to whom.
#[derive(Debug, clap::Args)]
pub struct PushArguments {
    /// A file with a user id in each line; what follows a # says nothing
    #[arg(long, value_name = "FILE")]
    users: PathBuf,
    /// The number of the message, as clients know it; from 2000 on they are yours
    #[arg(long, value_name = "N")]
    command: i32,
    /// What it says
    #[arg(long, value_name = "TEXT", required_unless_present = "content_file")]
    content: Option<String>,
    /// A file with what it says, byte by byte
    #[arg(long, value_name = "FILE", conflicts_with = "content")]
    content_file: Option<PathBuf>,
    /// Only to those who are connected: nothing is stored, and stopped between two batches it may reach some of them twice
    #[arg(long)]
    live: bool,
    /// Users per second
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Users in one call; at most logic's limits.push_users_max
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Where it is noted who had it, so that the same command goes on after a stop; without it the file of --users with .pushed behind it
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// How long a batch is tried again where logic is away or has too much to do
    #[arg(long, value_name = "S", default_value_t = 60)]
    patience_s: u64,
    #[command(flatten)]
    remote: RemoteArguments,
}

/// Why not everybody has it.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The users are none. Nothing was pushed.
    #[error("{}: {source}; nothing was pushed", .path.display())]
    Users {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ListError,
    },
    /// The journal is of no use. Nothing was pushed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal was not written.
    #[error("what was pushed cannot be noted: {0}; the last batch of users may get it again")]
    Note(io::Error),
    /// No way to logic.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Logic does not take it.
    #[error("{source}; {done} of {all} users have it, and the same command goes on from there")]
    Stopped {
        /// Why.
        source: RemoteError,
        /// Users who have it.
        done: usize,
        /// Users who should.
        all: usize,
    },
}

/// Pushes it to all of them.
pub async fn run(arguments: &PushArguments) -> Result<Answer, PushError> {
    let logic = arguments.remote.logic()?;
    let users = users(arguments)?;
    let content = content(arguments)?;
    let batch = arguments.batch as usize;
    let mut journal = journal(arguments, &users, &content)?;
    let progress = Progress::of("users", users.len() as u64);
    let before = (journal.done * batch).min(users.len());
    progress.add(before);
    let (begun, mut pushed) = (Instant::now(), 0);
    for part in users.chunks(batch).skip(journal.done) {
        // The rate is kept over the whole, so that a slow call is made up for.
        let due = begun + Duration::from_secs_f64(pushed as f64 / f64::from(arguments.rate));
        tokio::time::sleep_until(due.into()).await;
        let request = PushToUsersRequest {
            user_ids: part.to_vec(),
            command: arguments.command,
            content: content.clone(),
            is_persist: !arguments.live,
            client_msg_id: if arguments.live { String::new() } else { journal.key() },
            filter_words: false,
        };
        push(&logic, &request, Duration::from_secs(arguments.patience_s))
            .await
            .map_err(|source| PushError::Stopped { source, done: before + pushed, all: users.len() })?;
        journal.end_batch().map_err(PushError::Note)?;
        pushed += part.len();
        progress.add(part.len());
    }
    drop(progress);
    let all = users.len();
    let text = match before {
        0 => format!("{all} users have it"),
        _ if pushed == 0 => {
            format!(
                "nothing was pushed: {all} users have it by an earlier run; to push it once more name another --journal"
            )
        }
        _ => format!("{all} users have it, {before} of them by an earlier run"),
    };
    Ok(Answer::good(text, json!({"users": users.len(), "pushed_now": pushed, "pushed_before": before})))
}

fn users(arguments: &PushArguments) -> Result<Vec<u64>, PushError> {
    let path = &arguments.users;
    let text = std::fs::read_to_string(path).map_err(|source| PushError::Read { path: path.clone(), source })?;
    user_list::parse(&text).map_err(|source| PushError::Users { path: path.clone(), source })
}

fn content(arguments: &PushArguments) -> Result<Bytes, PushError> {
    let Some(path) = &arguments.content_file else {
        return Ok(arguments.content.clone().unwrap_or_default().into_bytes().into());
    };
    let bytes = std::fs::read(path).map_err(|source| PushError::Read { path: path.clone(), source })?;
    Ok(bytes.into())
}

fn journal(arguments: &PushArguments, users: &[u64], content: &[u8]) -> Result<Journal, JournalError> {
    let path = arguments.journal.clone().unwrap_or_else(|| {
        let mut path = arguments.users.clone().into_os_string();
        path.push(".pushed");
        path.into()
    });
    let users: Vec<u8> = users.iter().flat_map(|user_id| user_id.to_le_bytes()).collect();
    let (command, batch) = (arguments.command.to_le_bytes(), arguments.batch.to_le_bytes());
    Journal::open(&path, &[&users, content, &command, &batch, &[u8::from(arguments.live)]])
}

/// Until logic has it, or will not have it.
async fn push(logic: &Remote, request: &PushToUsersRequest, patience: Duration) -> Result<(), RemoteError> {
    let (begun, mut wait) = (Instant::now(), RETRY_FIRST);
    let mut client = MessageIntServiceClient::new(logic.channel.clone());
    loop {
        let Err(status) = client.push_to_users(Remote::request(request.clone())).await else { return Ok(()) };
        let error = logic.error("MessageIntService/PushToUsers", &status);
        if !error.is_retryable() || begun.elapsed() + wait > patience {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}
