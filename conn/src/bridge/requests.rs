//! Requests that are with logic, and what is needed to answer them: held by the link that they went over.
//!
//! Owned by the task of one link, on Tokio; the time is passed in. Always holds: numbers grow, so the oldest request expires first, and
//! each is taken out once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gim_config::{slow, traces::Span};
use gim_proto::{
    ResultCode,
    connect::Reply,
    logic::{PacketReply, SignInResult},
};

use super::request_metrics::{self, RequestMetrics};
use crate::{
    ids::ConnectionId,
    reactor::command_queue::Command,
    session::Identity,
    wire::{encoded::Encoded, packet},
};

/// A request that logic has not answered.
#[derive(Debug)]
pub struct Request {
    /// Who asked.
    pub connection: ConnectionId,
    /// What was asked.
    pub command: i32,
    /// Of the packet, as the client chose it.
    pub request_id: String,
    /// What an answer sets in motion.
    pub purpose: Purpose,
    /// When the bridge took it.
    pub taken_at: Instant,
    /// Begins when it goes to logic, and ends with the answer.
    pub span: Span,
}

/// What an answer sets in motion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The connection is let in, or not.
    SignIn(Identity),
    /// It joins a room (0 leaves).
    Subscribe(u64),
    /// It gets the reply and nothing else.
    Reply,
    /// As well, to a call.
    Call,
}

/// All requests of one link, oldest first: numbers grow, and all have the same time to live.
#[derive(Debug, Default)]
pub struct PendingRequests {
    requests: BTreeMap<u64, (Instant, Request)>,
    /// How many of them are calls.
    calls: usize,
    last_number: u64,
    metrics: RequestMetrics,
}

impl PendingRequests {
    /// Adds a request that may wait until `deadline`; returns its number.
    pub fn add(&mut self, request: Request, deadline: Instant) -> u64 {
        self.last_number += 1;
        self.calls += usize::from(request.is_call());
        self.requests.insert(self.last_number, (deadline, request));
        self.last_number
    }

    /// The request with this number, if nobody answered it yet.
    pub fn take(&mut self, number: u64) -> Option<Request> {
        let (_, request) = self.requests.remove(&number)?;
        self.calls -= usize::from(request.is_call());
        Some(request)
    }

    /// The oldest request, if its time is over.
    pub fn take_expired(&mut self, now: Instant) -> Option<Request> {
        let (&number, (deadline, _)) = self.requests.first_key_value()?;
        if *deadline > now { None } else { self.take(number) }
    }

    /// For how long the oldest one has been waiting; zero where none is.
    pub fn oldest(&self, now: Instant) -> Duration {
        self.requests.first_key_value().map_or(Duration::ZERO, |(_, (_, request))| now.duration_since(request.taken_at))
    }

    /// All of them.
    pub fn take_all(&mut self) -> impl Iterator<Item = Request> {
        self.calls = 0;
        std::mem::take(&mut self.requests).into_values().map(|(_, request)| request)
    }

    /// Counts one that was taken out, by how it ends.
    pub fn note_end(&mut self, request: &Request, code: i32, now: Instant) {
        let took = now.saturating_duration_since(request.taken_at);
        slow::tell(request_metrics::name_of(request.command), &request.request_id, took);
        self.metrics.note(request.command, code, took);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// How many of them are calls.
    pub fn calls(&self) -> usize {
        self.calls
    }
}

impl Request {
    /// Whether it takes a place of the calls.
    pub fn is_call(&self) -> bool {
        self.purpose == Purpose::Call
    }

    /// What the reactor does when the request is not done.
    pub fn refused(self, code: ResultCode) -> Command {
        let (code, message) = (code.number(), code.text().to_owned());
        self.answered(PacketReply { code, message, ..PacketReply::default() }, Vec::new())
    }

    /// What the reactor does with logic's answer to anything but a sign-in that succeeded.
    pub fn answered(mut self, reply: PacketReply, retained: Vec<Encoded>) -> Command {
        let PacketReply { code, message, data, inbox_seq, .. } = reply;
        self.span.note("gim.code", i64::from(code));
        if code != 0 {
            self.span.fail(|| message.clone());
        }
        let is_silent = packet::is_silent(self.command, &self.request_id);
        let frame = (!is_silent).then(|| packet::reply(&self.request_id, self.command, &Reply { code, message, data }));
        let connection = self.connection;
        match self.purpose {
            Purpose::SignIn(_) => Command::SignInRefused { connection, frame: frame.unwrap_or_default() },
            Purpose::Subscribe(room_id) if code == 0 => {
                Command::Subscribe { connection, room_id, reply: frame, retained }
            }
            Purpose::Subscribe(room_id) => {
                Command::Reply { connection, frame, room_released: (room_id != 0).then_some(room_id), inbox_seq: 0 }
            }
            Purpose::Reply => Command::Reply { connection, frame, room_released: None, inbox_seq },
            Purpose::Call => Command::CallReply { connection, frame: frame.unwrap_or_default() },
        }
    }

    /// What the reactor does when logic let the connection in.
    pub fn signed_in(self, identity: Identity, result: SignInResult) -> Command {
        let SignInResult { message, newest_seq, large_group_ids, .. } = result;
        let frame = packet::reply(&self.request_id, self.command, &Reply { code: 0, message, data: Bytes::new() });
        Command::SignedIn { connection: self.connection, identity, newest_seq, large_group_ids, frame }
    }
}

#[cfg(test)]
mod tests {
    use gim_proto::connect::PacketCommand;

    use super::*;

    fn request(command: PacketCommand, request_id: &str, purpose: Purpose) -> Request {
        let connection = ConnectionId::new(0, 1, 2);
        let (command, request_id) = (command as i32, request_id.into());
        Request { connection, command, request_id, purpose, taken_at: Instant::now(), span: Span::default() }
    }

    #[test]
    fn requests_expire_in_order_and_are_answered_once() {
        let mut pending = PendingRequests::default();
        let start = Instant::now();
        let first = pending.add(request(PacketCommand::PcSend, "a", Purpose::Reply), start);
        let second = pending.add(request(PacketCommand::PcSend, "b", Purpose::Reply), start + Duration::from_secs(1));
        assert_eq!(pending.take_expired(start).unwrap().request_id, "a");
        assert!(pending.take_expired(start).is_none());
        assert!(pending.take(first).is_none());
        let waits = pending.oldest(Instant::now() + Duration::from_secs(5));
        assert!((Duration::from_secs(5)..Duration::from_secs(60)).contains(&waits), "{waits:?}");
        let call = pending.add(request(PacketCommand::PcCall, "c", Purpose::Call), start + Duration::from_secs(2));
        pending.add(request(PacketCommand::PcCall, "d", Purpose::Call), start + Duration::from_secs(3));
        assert_eq!((pending.len(), pending.calls()), (3, 2));
        assert_eq!(pending.take(second).unwrap().request_id, "b");
        assert_eq!(pending.take(call).unwrap().request_id, "c");
        assert_eq!(pending.take_expired(start + Duration::from_secs(3)).unwrap().request_id, "d");
        assert_eq!((pending.len(), pending.calls()), (0, 0));
        assert_eq!(pending.oldest(Instant::now()), Duration::ZERO);
    }

    #[test]
    fn an_ack_or_a_read_without_a_request_id_is_not_answered() {
        for command in [PacketCommand::PcMessageAck, PacketCommand::PcRead] {
            let silent = request(command, "", Purpose::Reply).refused(ResultCode::TryAgainLater);
            assert!(matches!(silent, Command::Reply { frame: None, .. }));
            let spoken = request(command, "x", Purpose::Reply).refused(ResultCode::TryAgainLater);
            assert!(matches!(spoken, Command::Reply { frame: Some(_), .. }));
        }
    }

    #[test]
    fn a_refused_subscription_releases_its_room() {
        let refused = request(PacketCommand::PcSubscribeRoom, "", Purpose::Subscribe(5)).refused(ResultCode::Internal);
        assert!(matches!(refused, Command::Reply { room_released: Some(5), .. }));
    }
}
