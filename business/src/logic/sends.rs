//! Messages of users on their way to logic: those that come together share a call.
//!
//! Owned by [`Logic`](super::Logic), on Tokio. A call costs both services more than what is done in it. Always holds: each message is
//! answered for itself, whatever became of those beside it; a few calls are under way at the same time, so that none waits for
//! a slow one.

use std::sync::Arc;

use futures_util::future::join_all;
use gim_config::{gather::Gatherer, grpc::PeerChannel};
use gim_proto::{
    ResultCode,
    logic::{
        SendAsRequest, SendManyAsItem, SendManyAsReply, SendManyAsRequest, SendManyAsResult,
        message_int_service_client::MessageIntServiceClient,
    },
};
use prost::Message as _;
use tonic::{Code, Status};

use super::{LogicError, with_request_id};

/// Messages in one call.
const TOGETHER_MAX: usize = 64;

/// Bytes of one call, below what logic takes; a message that is longer has one for itself.
const BYTES_MAX: usize = 64 << 10;

/// Calls under way at the same time.
const CALLS: usize = 4;

type Sent = Result<u64, LogicError>;

/// Where messages are sent. Clones share the calls.
#[derive(Debug, Clone)]
pub(super) struct Sends(Arc<[Gatherer<SendManyAsItem, Sent, LogicError>]>);

impl Sends {
    pub(super) fn new(client: &MessageIntServiceClient<PeerChannel>) -> Self {
        let start = |_| {
            let client = client.clone();
            Gatherer::start(TOGETHER_MAX, move |items| send_in_parts(client.clone(), items))
        };
        Self((0..CALLS).map(start).collect())
    }

    /// Sends a message, and returns its id once it is durable. Those of one user take one way.
    pub(super) async fn send(&self, message: SendAsRequest, request_id: &str) -> Sent {
        let way = &self.0[(message.user_id % CALLS as u64) as usize];
        let item = SendManyAsItem { message: Some(message), request_id: request_id.to_owned() };
        let answer = way.ask(item).await.unwrap_or_else(|| Err(LogicError::new(Status::unavailable("stopping"))));
        answer.and_then(|sent| sent)
    }
}

/// Sends as many at a time as fit into a call; an answer for each, in their order.
async fn send_in_parts(
    client: MessageIntServiceClient<PeerChannel>,
    items: Vec<SendManyAsItem>,
) -> Result<Vec<Sent>, LogicError> {
    let parts = parts(items).into_iter().map(|part| send_together(client.clone(), part));
    Ok(join_all(parts).await.into_iter().flatten().collect())
}

fn parts(items: Vec<SendManyAsItem>) -> Vec<Vec<SendManyAsItem>> {
    let mut parts: Vec<Vec<SendManyAsItem>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        bytes += item.encoded_len();
        match parts.last_mut().filter(|_| bytes <= BYTES_MAX) {
            Some(part) => part.push(item),
            None => {
                bytes = item.encoded_len();
                parts.push(vec![item]);
            }
        }
    }
    parts
}

async fn send_together(mut client: MessageIntServiceClient<PeerChannel>, items: Vec<SendManyAsItem>) -> Vec<Sent> {
    let count = items.len();
    if count == 1 {
        return send_singly(client, items).await;
    }
    match client.send_many_as(SendManyAsRequest { items: items.clone() }).await {
        Ok(reply) => answers(reply.into_inner(), count),
        // A logic that is older than this service: during an upgrade.
        Err(status) if status.code() == Code::Unimplemented => send_singly(client, items).await,
        Err(status) => vec![Err(LogicError::new(status)); count],
    }
}

async fn send_singly(client: MessageIntServiceClient<PeerChannel>, items: Vec<SendManyAsItem>) -> Vec<Sent> {
    let sent = items.into_iter().map(async |item| {
        let request = with_request_id(item.message.unwrap_or_default(), &item.request_id);
        let reply = client.clone().send_as(request).await.map_err(LogicError::new)?;
        Ok(reply.into_inner().message_id)
    });
    join_all(sent).await
}

fn answers(reply: SendManyAsReply, count: usize) -> Vec<Sent> {
    if reply.results.len() != count {
        let problem = format!("{count} messages have {} answers", reply.results.len());
        return vec![Err(LogicError::new(Status::internal(problem))); count];
    }
    reply.results.into_iter().map(answer).collect()
}

fn answer(result: SendManyAsResult) -> Sent {
    match result.reply {
        Some(reply) => Ok(reply.message_id),
        None => {
            let code = ResultCode::from_number(result.code).unwrap_or(ResultCode::Internal);
            Err(LogicError::new(code.status(result.message)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: usize) -> SendManyAsItem {
        let message = SendAsRequest { content: vec![7; bytes].into(), ..SendAsRequest::default() };
        SendManyAsItem { message: Some(message), request_id: String::new() }
    }

    #[test]
    fn a_call_has_as_many_messages_as_fit() {
        let counts = |sizes: &[usize]| -> Vec<usize> {
            parts(sizes.iter().map(|&bytes| item(bytes)).collect()).iter().map(Vec::len).collect()
        };
        assert_eq!(counts(&[100; 64]), [64]);
        assert_eq!(counts(&[57_344, 57_344, 10, 100_000, 10]), [1, 2, 1, 1]);
        assert_eq!(counts(&[]), [0; 0]);
    }

    #[test]
    fn each_message_has_its_own_answer() {
        let refused = SendManyAsResult { code: 10004, message: "later".into(), ..SendManyAsResult::default() };
        let done = SendManyAsResult {
            reply: Some(gim_proto::connect::SendReply { message_id: 5, ..Default::default() }),
            ..SendManyAsResult::default()
        };
        let results = vec![done.clone(), refused, done];
        let answers_of = |count| answers(SendManyAsReply { results: results.clone() }, count);
        let all = answers_of(3);
        assert!(matches!(all[..], [Ok(5), Err(LogicError::Refused(_)), Ok(5)]), "{all:?}");
        assert!(answers_of(4).iter().all(|answer| matches!(answer, Err(LogicError::Failed(_)))));
    }
}
