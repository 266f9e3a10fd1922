//! `drain`: has a conn node send its clients away and end, and waits until it is gone.
//!
//! Always holds: the node is asked once, and only when it is there; where this program ends early, the node goes on. A node whose link to
//! logic was cut, or whose logic is away for a moment, is not taken for one that is gone.

use std::time::{Duration, Instant};

use gim_proto::logic::{
    DrainNodeRequest, ListNodesReply, NodeLoad, operator_int_service_client::OperatorIntServiceClient,
};
use serde_json::json;

use crate::{
    answer::Answer,
    nodes::attached,
    progress::Progress,
    remote::{Remote, RemoteArguments, RemoteError},
};

/// How often logic is asked how far it is.
const ASK_INTERVAL: Duration = Duration::from_millis(200);

/// A node says within a second that it drains.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);

/// Which node.
#[derive(Debug, clap::Args)]
pub struct DrainArguments {
    /// The name of the conn node, as `gim-ctl nodes` lists it. Who started it may start it again
    #[arg(value_name = "NODE")]
    node: String,
    /// How long to wait for its end; it goes on without us
    #[arg(long, value_name = "S", default_value_t = 120)]
    wait_s: u64,
    /// How long it has to be missing until it counts as gone: a node whose link was cut is back within about twice
    /// its `link.reconnect_max_ms`. (One that had nobody left is gone at once.)
    #[arg(long, value_name = "S", default_value_t = 10)]
    gone_after_s: u64,
    #[command(flatten)]
    remote: RemoteArguments,
}

/// Why it is not gone.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// Logic.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// There is no such node.
    #[error("no conn node `{node}` is attached to {logic}: {}", others(.attached))]
    NoNode {
        /// Who should drain.
        node: String,
        /// Who was asked.
        logic: String,
        /// Who is attached.
        attached: Vec<String>,
    },
    /// It was asked, and does nothing.
    #[error(
        "{0} was asked, and does not drain: it is older than this gim-ctl, or belongs to another operator; send it SIGTERM"
    )]
    Deaf(String),
    /// It takes longer.
    #[error("{node} {} {connections} connections after {wait_s} s, and goes on draining", if *.is_there { "still has" } else { "is missing, and had" })]
    Slow {
        /// Who drains.
        node: String,
        /// How many are left.
        connections: u64,
        /// How long we waited.
        wait_s: u64,
        /// Whether logic told of it at the end.
        is_there: bool,
    },
}

fn others(attached: &[String]) -> String {
    if attached.is_empty() { "nobody is".to_owned() } else { format!("there are {}", attached.join(", ")) }
}

/// Drains it.
pub async fn run(arguments: &DrainArguments) -> Result<Answer, DrainError> {
    let logic = arguments.remote.logic()?;
    let ListNodesReply { logic_node, nodes } = attached(&logic).await?;
    let Some(node) = nodes.iter().find(|node| node.name == arguments.node) else {
        let attached = nodes.into_iter().map(|node| node.name).collect();
        return Err(DrainError::NoNode { node: arguments.node.clone(), logic: logic_node, attached });
    };
    let before = node.load.unwrap_or_default().connections;
    let request = DrainNodeRequest { node: node.name.clone() };
    let asked = OperatorIntServiceClient::new(logic.channel.clone()).drain_node(Remote::request(request)).await;
    asked.map_err(|status| logic.error("OperatorIntService/DrainNode", &status))?;
    let took = wait(arguments, &logic, node.epoch, before).await?;
    let text = format!("{} is gone after {:.1} s; it had {before} connections", node.name, took.as_secs_f64());
    Ok(Answer::good(text, json!({"node": node.name, "connections": before, "took_ms": took.as_millis() as u64})))
}

/// Until this start of the node is gone; one that comes back under its name is another. Returns how long it was there.
async fn wait(arguments: &DrainArguments, logic: &Remote, epoch: u64, before: u64) -> Result<Duration, DrainError> {
    let (begun, progress) = (Instant::now(), Progress::of("connections", before));
    let [gone_after, patience] = [arguments.gone_after_s, arguments.wait_s].map(Duration::from_secs);
    let (mut last, mut told) = (NodeLoad { connections: before, ..NodeLoad::default() }, 0);
    let mut missing_since: Option<Instant> = None;
    loop {
        tokio::time::sleep(ASK_INTERVAL).await;
        match attached(logic).await {
            // A logic that is away, as one that is restarted, says nothing about the node.
            Err(error) if error.is_retryable() && begun.elapsed() < patience => missing_since = None,
            Err(error) => return Err(error.into()),
            Ok(reply) => match reply.nodes.iter().find(|node| node.epoch == epoch) {
                Some(node) => (last, missing_since) = (node.load.unwrap_or_default(), None),
                None => {
                    let since = *missing_since.get_or_insert_with(Instant::now);
                    let had_nobody = last.is_draining && last.connections == 0;
                    if had_nobody || since.elapsed() >= gone_after {
                        return Ok(since - begun);
                    }
                }
            },
        }
        let gone = before.saturating_sub(last.connections);
        progress.add(usize::try_from(gone.saturating_sub(told)).unwrap_or_default());
        told = told.max(gone);
        let is_there = missing_since.is_none();
        if is_there && !last.is_draining && begun.elapsed() > BEGIN_WITHIN {
            return Err(DrainError::Deaf(arguments.node.clone()));
        }
        if begun.elapsed() > patience {
            let (node, connections) = (arguments.node.clone(), last.connections);
            return Err(DrainError::Slow { node, connections, wait_s: arguments.wait_s, is_there });
        }
    }
}
