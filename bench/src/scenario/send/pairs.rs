//! Users in pairs: what each has sent and not yet heard of, what each has got of the other, and when the next send is due.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::ensure;
use gim_proto::connect::{MessageCommand, Packet as Envelope, PacketCommand, Reply, SendRequest, send_request::Target};
use prost::Message as _;

use crate::{
    duel::{Side, Slice},
    stats::{Latencies, Schedule, ratio},
    swarm::{
        Behaviour, Link, Packet, Swarm,
        packet::{Message, bytes_of},
    },
    tally::Tally,
};

const MESSAGE: i32 = PacketCommand::PcMessage as i32;
const SEND: i32 = PacketCommand::PcSend as i32;

/// Field `content` of `logic.UserMessagePush`.
const PUSHED_CONTENT: u64 = 3;

/// One user.
#[derive(Debug, Default)]
struct Peer {
    /// Messages sent; each carries its number, from 1 on.
    sent: u64,
    /// When those that are not answered were meant to leave.
    unanswered: HashMap<u64, Instant>,
    /// When those that the other one has not got were meant to leave.
    on_the_way: HashMap<u64, Instant>,
    /// Newest number that came from the other one.
    newest: u64,
    /// Lower numbers that did not come yet.
    missing: HashSet<u64>,
}

/// All users; each sends to the other one of its pair, the next or the one before.
pub struct Pairs {
    pub durable: Latencies,
    pub arrival: Latencies,
    pub measured: Duration,
    /// What an open loop sent, and how much of it late through our fault.
    pub scheduled: (u32, u32),
    pub duplicates: u64,
    pub reordered: u64,
    pub rate: Option<f64>,
    user_ids: Vec<u64>,
    peers: Vec<Peer>,
    size: usize,
    slice: Option<Slice>,
    schedule: Option<Schedule>,
    next_sender: usize,
    unanswered: u64,
    answered: u64,
    received: u64,
}

impl Pairs {
    pub fn new(user_ids: Vec<u64>, size: usize, rate: Option<f64>) -> Self {
        Self {
            durable: Latencies::default(),
            arrival: Latencies::default(),
            measured: Duration::ZERO,
            scheduled: (0, 0),
            duplicates: 0,
            reordered: 0,
            rate,
            peers: user_ids.iter().map(|_| Peer::default()).collect(),
            user_ids,
            size,
            slice: None,
            schedule: None,
            next_sender: 0,
            unanswered: 0,
            answered: 0,
            received: 0,
        }
    }

    pub fn per_second(&self) -> f64 {
        ratio(self.durable.count() as f64, self.measured.as_secs_f64())
    }

    /// Acknowledged and never seen.
    pub fn lost(&self) -> u64 {
        self.answered.saturating_sub(self.received)
    }

    pub fn activity(&self) -> u64 {
        self.answered + self.received
    }

    pub fn is_settled(&self) -> bool {
        self.unanswered == 0 && self.lost() == 0
    }

    /// Adds what these users have seen.
    pub fn count(&self, tally: &mut Tally) {
        tally.add_rate("durable", &self.durable, self.measured);
        tally.add_latencies("arrival", &self.arrival);
        for (key, count) in [("lost", self.lost()), ("duplicates", self.duplicates), ("reordered", self.reordered)] {
            tally.add(key, count as f64);
        }
    }

    pub fn begin(&mut self, slice: Slice, swarm: &mut Swarm) -> anyhow::Result<()> {
        self.slice = Some(slice);
        let now = Instant::now();
        self.schedule = self.rate.map(|rate| Schedule::new(now, rate));
        if self.schedule.is_none() {
            for id in 0..self.peers.len() {
                self.send(swarm.link(id), now);
            }
        }
        Ok(())
    }

    /// Nothing more is sent.
    pub fn end(&mut self) {
        self.slice = None;
        if let Some((sent, late)) = self.schedule.take().map(|schedule| schedule.sent()) {
            self.scheduled.0 += sent;
            self.scheduled.1 += late;
        }
    }

    fn counts(&self, now: Instant) -> bool {
        self.slice.is_some_and(|slice| slice.measures(Side::Server, now))
    }

    fn send(&mut self, link: &mut Link, intended: Instant) {
        let (id, other) = (link.id(), link.id() ^ 1);
        let peer = &mut self.peers[id];
        peer.sent += 1;
        peer.unanswered.insert(peer.sent, intended);
        peer.on_the_way.insert(peer.sent, intended);
        self.unanswered += 1;
        let mut content = vec![b'.'; self.size];
        content[..8].copy_from_slice(&peer.sent.to_le_bytes());
        let request = SendRequest {
            target: Some(Target::UserId(self.user_ids[other])),
            command: MessageCommand::McUserMessage as i32,
            content: content.into(),
            client_msg_id: format!("{:016x}", peer.sent),
        };
        let request_id = peer.sent.to_string();
        let packet = Envelope { request_id, command: SEND, content: request.encode_to_vec().into(), seq: 0 };
        link.send(&packet.encode_length_delimited_to_vec());
    }

    fn take_reply(&mut self, id: usize, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        let Reply { code, message, .. } = Reply::decode(packet.content)?;
        ensure!(code == 0, "a send was refused with code {code}: {message}");
        let number = str::from_utf8(packet.request_id).ok().and_then(|number| number.parse().ok());
        let Some(intended) = number.and_then(|number: u64| self.peers[id].unanswered.remove(&number)) else {
            return Ok(());
        };
        self.unanswered -= 1;
        self.answered += 1;
        if self.counts(now) {
            self.durable.record(now - intended);
        }
        Ok(())
    }

    fn take_message(&mut self, id: usize, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        let message = Message::read(packet.content)?;
        let content = bytes_of(message.content, PUSHED_CONTENT)?;
        let Some(number) = content.first_chunk().map(|number| u64::from_le_bytes(*number)) else { return Ok(()) };
        let peer = &mut self.peers[id];
        if number > peer.newest {
            peer.missing.extend(peer.newest + 1..number);
            peer.newest = number;
        } else if peer.missing.remove(&number) {
            self.reordered += 1;
        } else {
            self.duplicates += 1;
            return Ok(());
        }
        self.received += 1;
        if let Some(intended) = self.peers[id ^ 1].on_the_way.remove(&number)
            && self.counts(now)
        {
            self.arrival.record(now - intended);
        }
        Ok(())
    }
}

impl Behaviour for Pairs {
    fn on_packet(&mut self, link: &mut Link, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        match packet.command {
            SEND => {
                self.take_reply(link.id(), packet, now)?;
                if self.slice.is_some_and(|slice| now < slice.end) && self.schedule.is_none() {
                    self.send(link, now);
                }
                Ok(())
            }
            MESSAGE => self.take_message(link.id(), packet, now),
            _ => Ok(()),
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.schedule.as_ref().map(Schedule::next)
    }

    fn on_tick(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        let now = Instant::now();
        while let Some(intended) = self.schedule.as_mut().and_then(|schedule| schedule.due(now)) {
            self.send(swarm.link(self.next_sender), intended);
            self.next_sender = (self.next_sender + 1) % self.peers.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrives(pairs: &mut Pairs, number: u64) {
        let content =
            gim_proto::logic::UserMessagePush { content: number.to_le_bytes().to_vec().into(), ..Default::default() };
        let content = content.encode_to_vec().into();
        let message = gim_proto::connect::Message { content, ..Default::default() }.encode_to_vec();
        let packet = Packet { command: MESSAGE, content: &message, ..Packet::default() };
        pairs.take_message(0, &packet, Instant::now()).unwrap();
    }

    #[test]
    fn what_comes_late_twice_or_never_is_told_apart() {
        let mut pairs = Pairs::new(vec![1, 2], 8, None);
        pairs.answered = 5;
        [1, 2, 4, 3, 4].into_iter().for_each(|number| arrives(&mut pairs, number));
        assert_eq!((pairs.received, pairs.reordered, pairs.duplicates, pairs.lost()), (4, 1, 1, 1));
        assert!(!pairs.is_settled());
        arrives(&mut pairs, 5);
        assert!(pairs.is_settled());
    }
}
