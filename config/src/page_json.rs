//! What pages answer in JSON to those who do not speak protobuf: where to connect, and what was refused. Pure.

use gim_proto::{
    ResultCode,
    logic::{ConnNode, LocateReply},
};
use http::StatusCode;
use serde::Serialize;

/// Where to connect, as `logic.GatewayExtService/Locate` says it.
#[derive(Debug, Serialize)]
pub struct LocateAnswer {
    nodes: Vec<Node>,
    heartbeat_s: u32,
    backoff: Backoff,
}

/// What was refused, as every reply of the protocol says it.
#[derive(Debug, Serialize)]
pub struct Problem {
    code: i32,
    message: String,
}

#[derive(Debug, Serialize)]
struct Node {
    tcp: String,
    ws: String,
    tls: String,
    wss: String,
    weight: u32,
}

#[derive(Debug, Serialize)]
struct Backoff {
    first_ms: u32,
    max_ms: u32,
}

impl From<LocateReply> for LocateAnswer {
    fn from(reply: LocateReply) -> Self {
        let node = |ConnNode { tcp, ws, tls, wss, weight }: ConnNode| Node { tcp, ws, tls, wss, weight };
        let backoff = reply.backoff.unwrap_or_default();
        Self {
            nodes: reply.nodes.into_iter().map(node).collect(),
            heartbeat_s: reply.heartbeat_s,
            backoff: Backoff { first_ms: backoff.first_ms, max_ms: backoff.max_ms },
        }
    }
}

impl Problem {
    /// With the number of a [`ResultCode`], or one of the business.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The status of HTTP that goes with it.
    pub fn status(&self) -> StatusCode {
        let is_for_later = self.code == ResultCode::TryAgainLater.number();
        if is_for_later { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST }
    }
}
