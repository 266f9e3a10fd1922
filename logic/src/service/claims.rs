//! What a logic node has for itself at a database server: with Redis its number, without it the whole database.

use std::time::Duration;

use gim_config::sql::{Claim, Database, Taken};
use tokio::task::JoinHandle;

use super::StartError;
use crate::{domain::message_id::NODE_NUMBER_MAX, settings::LogicSettings};

/// The name of who is alone.
const ALONE: &str = "logic";

/// Longer than any offline work takes.
const OFFLINE: Duration = Duration::from_secs(86_400);

/// A process that was killed a moment ago may have its name so long.
const JUST_ENDED: Duration = Duration::from_secs(3);

/// Refuses where another process has it for longer than a lease.
pub(super) async fn take(
    settings: &LogicSettings,
    database: &Database,
    lease: Duration,
) -> Result<Option<Claim>, StartError> {
    let number = settings.node_number;
    let (name, rivals, problem) = if settings.shared_state.url.is_empty() {
        let problem = "the database is in use by another gim-logic: several need one Redis (shared_state.url), and each a \
                       `node` and a `node_number` of its own";
        (ALONE.to_owned(), numbers(), problem.to_owned())
    } else {
        let problem = format!(
            "logic number {number} is in use at the database, or a gim-logic without Redis is: give each logic node a \
             `node` and a `node_number` of its own, and all of them the same Redis"
        );
        (of_number(number), vec![ALONE.to_owned()], problem)
    };
    let taken = database.claim(&name, &rivals, lease, lease + lease / 2).await;
    taken.map_err(|Taken| StartError::DatabaseInUse(problem))
}

/// Refuses where any logic node runs.
pub(super) async fn take_offline(database: &Database) -> Result<Option<Claim>, StartError> {
    let taken = database.claim(ALONE, &numbers(), OFFLINE, JUST_ENDED).await;
    taken.map_err(|Taken| {
        StartError::DatabaseInUse("the database is in use by a gim-logic: stop all of them before".into())
    })
}

/// Waits until another process has it, and says so.
pub(super) async fn lost(claim: &mut Option<JoinHandle<Taken>>) -> String {
    let Some(task) = claim else { return std::future::pending().await };
    match task.await {
        Ok(Taken) => "another gim-logic took this one's place at the database".to_owned(),
        Err(error) => format!("the claim on the database failed: {error}"),
    }
}

/// What any logic node has for itself at a database server.
pub fn claimed_names() -> Vec<String> {
    [vec![ALONE.to_owned()], numbers()].concat()
}

fn of_number(number: u16) -> String {
    format!("{ALONE} {number}")
}

fn numbers() -> Vec<String> {
    (0..=NODE_NUMBER_MAX).map(of_number).collect()
}
