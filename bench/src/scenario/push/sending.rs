//! Messages on time, several in a call, each for the next receiver. On the runtime of the target.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, ensure};
use gim_proto::{
    connect::MessageCommand,
    content::Text,
    logic::{SendAsRequest, SendManyAsItem, SendManyAsRequest, message_int_service_client::MessageIntServiceClient},
    metadata,
};
use prost::Message as _;
use tokio::task::JoinSet;
use tonic::{Request, transport::Channel};

use super::ledger::PushLedger;
use crate::{stats::Schedule, swarm::DEADLINE, target::refused, users::User};

/// What is due within so long leaves in one call.
const TOGETHER: Duration = Duration::from_millis(10);

/// Messages in a call, at most.
const MESSAGES_MAX: usize = 64;

/// What sends have in common.
#[derive(Debug, Clone)]
pub struct Sending {
    pub channel: Channel,
    pub internal_token: String,
    /// Who writes: no user's own share of anything is to be the bound.
    pub senders: Vec<u64>,
    /// Who gets one, by turns, each from the same sender.
    pub receivers: Vec<u64>,
}

/// A message that is to leave.
#[derive(Debug, Clone, Copy)]
struct Due {
    number: usize,
    from: u64,
    user_id: u64,
    intended: Instant,
}

impl Sending {
    /// A request of a trusted service.
    pub fn internal<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if !self.internal_token.is_empty() {
            metadata::put(&mut request, metadata::INTERNAL_TOKEN, &self.internal_token);
        }
        request.set_timeout(DEADLINE);
        request
    }

    /// Sends one message to each.
    pub async fn greet(&self, users: &[User]) -> anyhow::Result<()> {
        let now = Instant::now();
        let due = |(place, user): (usize, &User)| Due {
            number: usize::MAX - place,
            from: self.senders[place % self.senders.len()],
            user_id: user.id,
            intended: now,
        };
        for due in users.iter().enumerate().map(due).collect::<Vec<_>>().chunks(MESSAGES_MAX) {
            self.send(due.to_vec()).await?;
        }
        Ok(())
    }

    /// Sends until the schedule ends; returns how many messages left, and how many of them late through our fault.
    pub async fn send_on_time(&self, mut schedule: Schedule, ledger: &Mutex<PushLedger>) -> anyhow::Result<(u32, u32)> {
        let (mut calls, mut number) = (JoinSet::new(), 0);
        while let Some(next) = schedule.next() {
            tokio::time::sleep_until((next + TOGETHER).into()).await;
            let mut due = Vec::new();
            while let Some(intended) = schedule.due(Instant::now()) {
                let place = number % self.receivers.len();
                let (from, user_id) = (self.senders[place % self.senders.len()], self.receivers[place]);
                due.push(Due { number, from, user_id, intended });
                number += 1;
            }
            for some in due.chunks(MESSAGES_MAX) {
                let (sending, some) = (self.clone(), some.to_vec());
                calls.spawn(async move { sending.send(some).await });
            }
            while let Some(ended) = calls.try_join_next() {
                note(ledger, &ended??);
            }
        }
        while let Some(ended) = calls.join_next().await {
            note(ledger, &ended??);
        }
        Ok(schedule.sent())
    }

    /// Returns what was stored, with the ids.
    async fn send(&self, due: Vec<Due>) -> anyhow::Result<Vec<(Due, u64)>> {
        const CALL: &str = "logic.MessageIntService/SendManyAs";
        let item = |due: &Due| {
            let text = Text { text: format!("message {}", due.number), ..Text::default() };
            let message = SendAsRequest {
                user_id: due.from,
                device_id: due.from,
                to_user_id: due.user_id,
                command: MessageCommand::McText as i32,
                content: text.encode_to_vec().into(),
                client_msg_id: due.number.to_string(),
            };
            SendManyAsItem { message: Some(message), request_id: String::new() }
        };
        let request = self.internal(SendManyAsRequest { items: due.iter().map(item).collect() });
        let reply = MessageIntServiceClient::new(self.channel.clone()).send_many_as(request).await;
        let results = reply.map_err(|status| refused(CALL, &status))?.into_inner().results;
        ensure!(results.len() == due.len(), "{CALL} answered {} of {} messages", results.len(), due.len());
        let with_id = |(due, result): (Due, gim_proto::logic::SendManyAsResult)| {
            let problem = || anyhow!("a message was refused: {} ({})", result.message, result.code);
            let reply = result.reply.as_ref().ok_or_else(problem).context(CALL)?;
            Ok((due, reply.message_id))
        };
        due.into_iter().zip(results).map(with_id).collect()
    }
}

fn note(ledger: &Mutex<PushLedger>, stored: &[(Due, u64)]) {
    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    for (due, message_id) in stored {
        ledger.note_stored(due.user_id, *message_id, due.intended);
    }
}
