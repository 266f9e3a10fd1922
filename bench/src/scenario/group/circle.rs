//! Groups of clients: what each sender has sent and not yet heard of, and what each member has got of each sender.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use gim_proto::connect::{MessageCommand, Packet as Envelope, PacketCommand, SendRequest, send_request::Target};
use prost::Message as _;

use super::Arguments;
use crate::{
    duel::{Side, Slice},
    stats::{Latencies, Schedule, ratio},
    swarm::{
        Behaviour, Link, Packet, Swarm,
        packet::{Message, Reply, bytes_of},
    },
    tally::Tally,
};

const MESSAGE: i32 = PacketCommand::PcMessage as i32;
const SEND: i32 = PacketCommand::PcSend as i32;

/// Field `content` of `logic.GroupMessagePush`.
const PUSHED_CONTENT: u64 = 3;

/// What a message carries in front: its number with its sender, the sender's number in the group, when it was meant to leave.
const HEAD_BYTES: usize = 20;

/// One sender.
#[derive(Debug, Default)]
struct Sender {
    /// Messages sent, numbered from 1 on.
    sent: u64,
    /// When those that are not answered were meant to leave.
    unanswered: HashMap<u64, Instant>,
}

/// What a member has of a sender.
#[derive(Debug, Default)]
struct Got {
    newest: u64,
    /// Lower numbers that did not come yet.
    missing: HashSet<u64>,
}

/// All groups. Clients are numbered group by group; the first ones of each group send.
pub struct Circles {
    pub durable: Latencies,
    pub arrival: Latencies,
    pub measured: Duration,
    /// What an open loop sent, and how much of it late through our fault.
    pub scheduled: (u32, u32),
    group_ids: Vec<u64>,
    members: usize,
    senders: usize,
    size: usize,
    rate: Option<f64>,
    epoch: Instant,
    /// The senders of all groups, group by group.
    sending: Vec<Sender>,
    /// For each client what it has of each sender of its group.
    got: Vec<Got>,
    slice: Option<Slice>,
    schedule: Option<Schedule>,
    next_sender: usize,
    unanswered: u64,
    answered: u64,
    received: u64,
    duplicates: u64,
    reordered: u64,
}

impl Circles {
    pub fn new(group_ids: Vec<u64>, arguments: &Arguments, rate: Option<f64>) -> Self {
        let (groups, members, senders) = (group_ids.len(), arguments.members as usize, arguments.senders as usize);
        Self {
            durable: Latencies::default(),
            arrival: Latencies::default(),
            measured: Duration::ZERO,
            scheduled: (0, 0),
            group_ids,
            members,
            senders,
            size: arguments.size as usize,
            rate,
            epoch: Instant::now(),
            sending: (0..groups * senders).map(|_| Sender::default()).collect(),
            got: (0..groups * members * senders).map(|_| Got::default()).collect(),
            slice: None,
            schedule: None,
            next_sender: 0,
            unanswered: 0,
            answered: 0,
            received: 0,
            duplicates: 0,
            reordered: 0,
        }
    }

    pub fn per_second(&self) -> f64 {
        ratio(self.durable.count() as f64, self.measured.as_secs_f64())
    }

    /// Copies of acknowledged messages that nobody has seen; a sender's own device needs none.
    pub fn lost(&self) -> u64 {
        (self.answered * (self.members as u64 - 1)).saturating_sub(self.received)
    }

    pub fn activity(&self) -> u64 {
        self.answered + self.received
    }

    pub fn is_settled(&self) -> bool {
        self.unanswered == 0 && self.lost() == 0
    }

    /// Adds what they have seen.
    pub fn count(&self, tally: &mut Tally) {
        tally.add_rate("durable", &self.durable, self.measured);
        tally.add_latencies("arrival", &self.arrival);
        for (key, count) in [("lost", self.lost()), ("duplicates", self.duplicates), ("reordered", self.reordered)] {
            tally.add(key, count as f64);
        }
    }

    pub fn begin(&mut self, slice: Slice, swarm: &mut Swarm) {
        self.slice = Some(slice);
        let now = Instant::now();
        self.schedule = self.rate.map(|rate| Schedule::new(now, rate));
        if self.schedule.is_none() {
            for sender in 0..self.sending.len() {
                self.send(swarm, sender, now);
            }
        }
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

    fn send(&mut self, swarm: &mut Swarm, sender: usize, intended: Instant) {
        let client = sender / self.senders * self.members + sender % self.senders;
        self.send_on(swarm.link(client), sender, intended);
    }

    fn send_on(&mut self, link: &mut Link, sender: usize, intended: Instant) {
        let sending = &mut self.sending[sender];
        sending.sent += 1;
        let number = sending.sent;
        sending.unanswered.insert(number, intended);
        self.unanswered += 1;
        let since_epoch = u64::try_from((intended - self.epoch).as_nanos()).unwrap_or(u64::MAX);
        let mut content = vec![b'.'; self.size];
        content[..8].copy_from_slice(&number.to_le_bytes());
        content[8..12].copy_from_slice(&((sender % self.senders) as u32).to_le_bytes());
        content[12..HEAD_BYTES].copy_from_slice(&since_epoch.to_le_bytes());
        let request = SendRequest {
            target: Some(Target::GroupId(self.group_ids[sender / self.senders])),
            command: MessageCommand::McGroupMessage as i32,
            content: content.into(),
            client_msg_id: format!("{number:016x}"),
        };
        let content = request.encode_to_vec().into();
        let packet = Envelope { request_id: number.to_string(), command: SEND, content, seq: 0 };
        link.send(&packet.encode_length_delimited_to_vec());
    }

    /// The sender that a client is.
    fn sender(&self, client: usize) -> usize {
        client / self.members * self.senders + client % self.members
    }

    fn take_reply(&mut self, client: usize, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        Reply::read(packet.content)?.accepted("a send to a group")?;
        let sender = self.sender(client);
        let number = str::from_utf8(packet.request_id).ok().and_then(|number| number.parse().ok());
        let Some(intended) = number.and_then(|number: u64| self.sending[sender].unanswered.remove(&number)) else {
            return Ok(());
        };
        self.unanswered -= 1;
        self.answered += 1;
        if self.counts(now) {
            self.durable.record(now - intended);
        }
        Ok(())
    }

    fn take_message(&mut self, client: usize, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        let message = Message::read(packet.content)?;
        if message.command != MessageCommand::McGroupMessage as i32 {
            return Ok(());
        }
        let content = bytes_of(message.content, PUSHED_CONTENT)?;
        let Some((number, sender, since_epoch)) = read_head(content) else { return Ok(()) };
        let Some(got) = self.got.get_mut(client * self.senders + sender) else { return Ok(()) };
        if number > got.newest {
            got.missing.extend(got.newest + 1..number);
            got.newest = number;
        } else if got.missing.remove(&number) {
            self.reordered += 1;
        } else {
            self.duplicates += 1;
            return Ok(());
        }
        self.received += 1;
        if self.counts(now) {
            self.arrival.record(now.saturating_duration_since(self.epoch + since_epoch));
        }
        Ok(())
    }
}

fn read_head(content: &[u8]) -> Option<(u64, usize, Duration)> {
    let head: &[u8; HEAD_BYTES] = content.first_chunk()?;
    let number = u64::from_le_bytes(head[..8].try_into().ok()?);
    let sender = u32::from_le_bytes(head[8..12].try_into().ok()?);
    let since_epoch = u64::from_le_bytes(head[12..].try_into().ok()?);
    Some((number, sender as usize, Duration::from_nanos(since_epoch)))
}

impl Behaviour for Circles {
    fn on_packet(&mut self, link: &mut Link, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        match packet.command {
            SEND => {
                self.take_reply(link.id(), packet, now)?;
                if self.slice.is_some_and(|slice| now < slice.end) && self.schedule.is_none() {
                    self.send_on(link, self.sender(link.id()), now);
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
            self.send(swarm, self.next_sender, intended);
            self.next_sender = (self.next_sender + 1) % self.sending.len();
        }
        Ok(())
    }
}
