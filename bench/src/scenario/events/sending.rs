//! Messages by the hundred in one call, each in a conversation of its own, repeated until they are stored: the numbers of a conversation
//! are stored in their order whatever becomes of logic. On the runtime of the target.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{anyhow, ensure};
use gim_proto::{
    ResultCode,
    logic::{SendAsRequest, SendManyAsItem, SendManyAsRequest, message_int_service_client::MessageIntServiceClient},
    metadata,
};
use tonic::{Request, transport::Channel};

use super::ledger::EventLedger;

/// Of our own commands: bytes that nobody looks into.
const COMMAND: i32 = 2001;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Logic is back by then, however it went.
const PATIENCE: Duration = Duration::from_secs(120);

/// What all who send have in common.
#[derive(Debug, Clone)]
pub struct Senders {
    pub channel: Channel,
    pub internal_token: String,
    pub run: String,
    /// The two users of each conversation; the first one sends.
    pub pairs: Arc<Vec<(u64, u64)>>,
    /// Messages in each.
    pub numbers: u32,
    pub stored: Arc<AtomicU64>,
}

impl Senders {
    /// Sends all messages of some conversations.
    pub async fn send(self, conversations: Range<usize>) -> anyhow::Result<()> {
        for number in 0..self.numbers {
            let mut left: Vec<usize> = conversations.clone().collect();
            let until = Instant::now() + PATIENCE;
            while !left.is_empty() {
                left = self.try_once(left, number).await?;
                if !left.is_empty() {
                    ensure!(Instant::now() < until, "messages were not stored for {PATIENCE:?}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            self.stored.fetch_add(conversations.len() as u64, Relaxed);
        }
        Ok(())
    }

    /// Returns those that are to be repeated.
    async fn try_once(&self, conversations: Vec<usize>, number: u32) -> anyhow::Result<Vec<usize>> {
        let item = |&conversation: &usize| {
            let (user_id, to_user_id) = self.pairs[conversation];
            let message = SendAsRequest {
                user_id,
                device_id: user_id,
                to_user_id,
                command: COMMAND,
                content: EventLedger::content(&self.run, conversation, number).into(),
                client_msg_id: format!("{} {number}", self.run),
            };
            SendManyAsItem { message: Some(message), request_id: String::new() }
        };
        let mut request = Request::new(SendManyAsRequest { items: conversations.iter().map(item).collect() });
        if !self.internal_token.is_empty() {
            metadata::put(&mut request, metadata::INTERNAL_TOKEN, &self.internal_token);
        }
        request.set_timeout(PATIENCE);
        let Ok(reply) = MessageIntServiceClient::new(self.channel.clone()).send_many_as(request).await else {
            // Nobody knows what was stored: the keys make it harmless to repeat.
            return Ok(conversations);
        };
        let mut left = Vec::new();
        for (conversation, result) in conversations.into_iter().zip(reply.into_inner().results) {
            match ResultCode::from_number(result.code) {
                _ if result.reply.is_some() => {}
                Some(code) if code.is_retryable() => left.push(conversation),
                _ => return Err(anyhow!("a message was refused: {} ({})", result.message, result.code)),
            }
        }
        Ok(left)
    }
}
