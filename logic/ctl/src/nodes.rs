//! `nodes`: the conn nodes that are attached to a logic node, where clients reach them, and how full they are.

use gim_proto::logic::{AttachedNode, ListNodesReply, operator_int_service_client::OperatorIntServiceClient};
use serde_json::json;

use crate::{
    answer::{Answer, table},
    remote::{Remote, RemoteArguments, RemoteError},
};

/// Whom to ask.
#[derive(Debug, clap::Args)]
pub struct NodesArguments {
    #[command(flatten)]
    remote: RemoteArguments,
}

/// Lists them.
pub async fn run(arguments: &NodesArguments) -> Result<Answer, RemoteError> {
    let reply = attached(&arguments.remote.logic()?).await?;
    let rows: Vec<_> = reply.nodes.iter().map(row).collect();
    let text =
        format!("attached to {}:\n{}", reply.logic_node, table(&["node", "connections", "of", "is", "clients"], &rows));
    let told = reply.nodes.iter().map(|node| {
        let (load, addresses) = (node.load.unwrap_or_default(), node.addresses.clone().unwrap_or_default());
        json!({
            "node": node.name,
            "epoch": node.epoch,
            "connections": load.connections,
            "connections_max": load.connections_max,
            "is_draining": load.is_draining,
            "tcp": addresses.tcp, "ws": addresses.ws, "tls": addresses.tls, "wss": addresses.wss,
        })
    });
    let json = json!({"logic_node": reply.logic_node, "nodes": told.collect::<Vec<_>>()});
    Ok(Answer::good(text, json))
}

/// The conn nodes that are attached to a logic node now.
pub async fn attached(logic: &Remote) -> Result<ListNodesReply, RemoteError> {
    let reply = OperatorIntServiceClient::new(logic.channel.clone()).list_nodes(Remote::request(())).await;
    Ok(reply.map_err(|status| logic.error("OperatorIntService/ListNodes", &status))?.into_inner())
}

fn row(node: &AttachedNode) -> Vec<String> {
    let (load, addresses) = (node.load.unwrap_or_default(), node.addresses.clone().unwrap_or_default());
    let is = if load.is_draining { "draining" } else { "serving" };
    let ways = [("tcp ", addresses.tcp), ("", addresses.ws), ("tls ", addresses.tls), ("", addresses.wss)];
    let ways = ways.into_iter().filter(|(_, address)| !address.is_empty());
    let ways: Vec<_> = ways.map(|(kind, address)| format!("{kind}{address}")).collect();
    let numbers = [load.connections, load.connections_max].map(|number| number.to_string());
    [vec![node.name.clone()], numbers.to_vec(), vec![is.to_owned(), ways.join(", ")]].concat()
}
