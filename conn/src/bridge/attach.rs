//! Opening a stream to a logic node, and what is said where that fails. On the link's task.

use std::time::{Duration, Instant};

use gim_config::grpc::PeerChannel;
use gim_proto::{
    LINK_VERSION,
    logic::{Down, Hello, Up, Welcome, link_service_client::LinkServiceClient},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

/// Messages between this task and the HTTP/2 stream: enough to keep it busy, few enough to feel its flow control.
const STREAM_MESSAGES: usize = 16;

/// How long logic may take to say welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest message that is taken from logic, which itself packs far smaller ones.
const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Opens a stream and shakes hands.
pub(super) async fn attach(
    channel: PeerChannel,
    hello: Hello,
) -> Result<(mpsc::Sender<Up>, Streaming<Down>, Welcome), Status> {
    let (up, outgoing) = mpsc::channel(STREAM_MESSAGES);
    let first = Up { hello: Some(hello), items: Vec::new() };
    up.send(first).await.map_err(|_| Status::internal("the stream took no hello"))?;
    let mut client = LinkServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let attach = async {
        let mut down = client.attach(Request::new(ReceiverStream::new(outgoing))).await?.into_inner();
        let first = down.message().await?.and_then(|message| message.welcome);
        let welcome = first.ok_or_else(|| Status::failed_precondition("the peer said no welcome"))?;
        if welcome.version != LINK_VERSION {
            let problem = format!("the peer speaks link version {}, we speak {LINK_VERSION}", welcome.version);
            return Err(Status::failed_precondition(problem));
        }
        Ok((up, down, welcome))
    };
    let late = |_| Err(Status::deadline_exceeded("the peer said no welcome in time"));
    tokio::time::timeout(WELCOME_TIMEOUT, attach).await.unwrap_or_else(late)
}

/// So many reasons are said; a node that finds ever new ones is not heard any more.
const REASONS_MAX: usize = 8;

/// What logic said when it could not be attached to: each reason is said once, not at every attempt.
#[derive(Debug, Default)]
pub(super) struct AttachRefusal {
    said: Vec<String>,
    /// Since when the node's name is another process's.
    taken_since: Option<Instant>,
}

impl AttachRefusal {
    /// Says why a logic node cannot be attached to, once for each reason; returns whether to give up, because the node's name
    /// stays another process's.
    pub(super) fn note(&mut self, logic: &str, status: &Status, name_timeout: Duration) -> bool {
        let is_said = self.said.iter().any(|said| said == status.message());
        if is_said || self.said.len() >= REASONS_MAX {
            tracing::debug!(logic, %status, "still cannot attach");
        } else {
            tracing::warn!(logic, %status, "cannot attach; tried again and again");
            self.said.push(status.message().to_owned());
        }
        if status.code() != Code::AlreadyExists {
            self.taken_since = None;
            return false;
        }
        self.taken_since.get_or_insert_with(Instant::now).elapsed() >= name_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_come_by_turns_are_each_said_once() {
        let mut refusal = AttachRefusal::default();
        for _ in 0..3 {
            for reason in ["one", "another"] {
                assert!(!refusal.note("http://logic:8010", &Status::unavailable(reason), Duration::ZERO));
            }
        }
        assert_eq!(refusal.said, ["one", "another"]);
        for count in 0..100 {
            refusal.note("", &Status::unavailable(count.to_string()), Duration::ZERO);
        }
        assert_eq!(refusal.said.len(), REASONS_MAX);
        assert!(refusal.note("", &Status::already_exists("the name is taken"), Duration::ZERO));
    }
}
