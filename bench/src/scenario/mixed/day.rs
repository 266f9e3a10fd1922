//! All clients of a day. The first ones chat in pairs, the next ones are in rooms, room by room; the others are idle, and
//! some of them come and go.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use gim_proto::{
    connect::{Packet as Envelope, PacketCommand},
    logic::SyncRequest,
};
use prost::Message as _;

use super::{Audience, Pairs};
use crate::{
    duel::{Side, Slice},
    stats::{Latencies, Schedule},
    swarm::{
        Behaviour, Closed, Link, Packet, Swarm,
        packet::{Message, Reply},
        transport::Gate,
    },
    tally::Tally,
};

const HEARTBEAT: i32 = PacketCommand::PcHeartbeat as i32;
const SUBSCRIBE: i32 = PacketCommand::PcSubscribeRoom as i32;
const MESSAGE: i32 = PacketCommand::PcMessage as i32;
const SYNC: i32 = PacketCommand::PcSync as i32;

/// Whose turn it is when.
struct Plan {
    slice: Slice,
    rooms: Schedule,
    reconnects: Schedule,
}

/// All clients.
pub struct Day {
    pub pairs: Pairs,
    /// Each room's subscription and members.
    pub audiences: Vec<(Vec<u8>, Audience)>,
    /// What was sent on schedule, and how much of it late through our fault.
    pub scheduled: (u32, u32),
    /// Of each room.
    pub members: usize,
    /// Members who are in their room.
    pub entered: usize,
    gates: Vec<Gate>,
    greetings: Vec<Box<[u8]>>,
    chatting: usize,
    plan: Option<Plan>,
    /// Heartbeats go on from the first connection to the end.
    beats: Schedule,
    measured: Duration,
    /// When the heartbeat that is under way was meant to leave.
    heartbeat_at: Vec<Option<Instant>>,
    heartbeat: Vec<u8>,
    next_heartbeat: usize,
    heartbeats: Latencies,
    /// Since when those who come back are on their way.
    returning: HashMap<usize, Instant>,
    next_return: usize,
    sign_ins: Latencies,
}

impl Day {
    /// Nobody chats or is in a room yet.
    pub fn new(gates: Vec<Gate>, greetings: Vec<Box<[u8]>>, busy: [usize; 2], heartbeat_s: u32) -> Self {
        let [chatting, members] = busy;
        let heartbeat = Envelope { command: HEARTBEAT, ..Envelope::default() }.encode_length_delimited_to_vec();
        Self {
            pairs: Pairs::new(Vec::new(), 8, None),
            audiences: Vec::new(),
            scheduled: (0, 0),
            gates,
            heartbeat_at: vec![None; greetings.len()],
            chatting,
            members,
            entered: 0,
            plan: None,
            beats: Schedule::new(Instant::now(), greetings.len() as f64 / f64::from(heartbeat_s)),
            measured: Duration::ZERO,
            heartbeat,
            next_heartbeat: 0,
            heartbeats: Latencies::default(),
            returning: HashMap::new(),
            next_return: 0,
            sign_ins: Latencies::default(),
            greetings,
        }
    }

    /// Everything goes on from now on; messages per second in a room, returns per second.
    pub fn begin(&mut self, slice: Slice, rates: [f64; 2], swarm: &mut Swarm) -> anyhow::Result<()> {
        let [room_rate, reconnects] = rates;
        let now = Instant::now();
        self.plan =
            Some(Plan { slice, rooms: Schedule::new(now, room_rate), reconnects: Schedule::new(now, reconnects) });
        self.measured = slice.measured();
        self.pairs.measured = slice.measured();
        self.pairs.begin(slice, swarm)
    }

    /// Nothing more is sent.
    pub fn end(&mut self) {
        self.pairs.end();
        let Some(plan) = self.plan.take() else { return };
        let all = [self.beats.sent(), plan.rooms.sent(), plan.reconnects.sent(), self.pairs.scheduled];
        self.scheduled = all.iter().fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
    }

    /// Grows with whatever has to arrive.
    pub fn activity(&self) -> u64 {
        self.pairs.activity() + self.audiences.iter().map(|(_, audience)| audience.received()).sum::<u64>()
    }

    pub fn is_settled(&self) -> bool {
        self.pairs.is_settled() && self.audiences.iter().all(|(_, audience)| audience.has_all())
    }

    pub fn summary(&self, standing: usize) -> String {
        let (chats, sign_ins) = (self.pairs.durable.count(), self.sign_ins.count());
        format!("{standing} connections, {chats} chat messages, {sign_ins} came back")
    }

    /// Adds what all have seen.
    pub fn count(&self, tally: &mut Tally) {
        self.pairs.count(tally);
        tally.add_rate("heartbeats", &self.heartbeats, self.measured);
        tally.add_rate("sign_ins", &self.sign_ins, self.measured);
        for (_, audience) in &self.audiences {
            tally.add_rate("rooms", &audience.latencies, self.measured);
            tally.add("lost", audience.lost() as f64);
            tally.add("reordered", audience.reordered as f64);
        }
    }

    fn counts(&self, now: Instant) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.slice.measures(Side::Server, now))
    }

    /// The room of a client, and its number in it.
    fn place(&self, id: usize) -> Option<(usize, usize)> {
        let id = id.checked_sub(self.chatting)?;
        let room = id / self.members;
        (room < self.audiences.len()).then_some((room, id % self.members))
    }

    fn first_idle(&self) -> usize {
        self.chatting + self.audiences.len() * self.members
    }

    fn beat(&mut self, swarm: &mut Swarm, intended: Instant) {
        // It is the turn of each once per interval, also of those who are not there yet.
        let id = self.next_heartbeat;
        self.next_heartbeat = (id + 1) % self.greetings.len();
        if id < swarm.len() && swarm.is_ready(id) {
            self.heartbeat_at[id] = Some(intended);
            swarm.link(id).send(&self.heartbeat);
        }
    }

    /// One of those who are idle drops its connection and comes back.
    fn come_back(&mut self, swarm: &mut Swarm, intended: Instant) -> anyhow::Result<()> {
        let idle = self.greetings.len() - self.first_idle();
        let id = self.first_idle() + self.next_return;
        self.next_return = (self.next_return + 1) % idle;
        if self.returning.insert(id, intended).is_some() {
            return Err(anyhow!("a device that came back was not signed in before it left again"));
        }
        self.heartbeat_at[id] = None;
        swarm.hang_up(id)?;
        swarm.reopen(id, &self.gates[id % self.gates.len()], self.greetings[id].clone())
    }
}

impl Behaviour for Day {
    fn on_ready(&mut self, link: &mut Link, now: Instant) -> anyhow::Result<()> {
        if let Some((room, _)) = self.place(link.id()) {
            link.send(&self.audiences[room].0);
        } else if let Some(intended) = self.returning.remove(&link.id()) {
            if self.counts(now) {
                self.sign_ins.record(now - intended);
            }
            let content = SyncRequest::default().encode_to_vec().into();
            let packet = Envelope { request_id: "sync".into(), command: SYNC, content, seq: 0 };
            link.send(&packet.encode_length_delimited_to_vec());
        }
        Ok(())
    }

    fn on_packet(&mut self, link: &mut Link, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        let (id, counts) = (link.id(), self.counts(now));
        match packet.command {
            HEARTBEAT => {
                if let Some(intended) = self.heartbeat_at[id].take()
                    && counts
                {
                    self.heartbeats.record(now - intended);
                }
                Ok(())
            }
            SUBSCRIBE => {
                self.entered += 1;
                Reply::read(packet.content)?.accepted("a subscription").map(drop)
            }
            SYNC => Reply::read(packet.content)?.accepted("a sync").map(drop),
            _ if id < self.chatting => self.pairs.on_packet(link, packet, now),
            MESSAGE => {
                if let Some((room, member)) = self.place(id) {
                    self.audiences[room].1.take(member, &Message::read(packet.content)?, now, counts);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let plan = self.plan.as_ref()?;
        let ours = self.beats.next().min(plan.rooms.next()).min(plan.reconnects.next());
        Some(self.pairs.next_due().map_or(ours, |pairs| pairs.min(ours)))
    }

    fn on_tick(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        self.pairs.on_tick(swarm)?;
        self.audiences.iter().try_for_each(|(_, audience)| audience.check())?;
        let now = Instant::now();
        while let Some(intended) = self.beats.due(now) {
            self.beat(swarm, intended);
        }
        let Some(mut plan) = self.plan.take() else { return Ok(()) };
        while let Some(intended) = plan.rooms.due(now) {
            self.audiences.iter_mut().try_for_each(|(_, audience)| audience.push(intended))?;
        }
        while let Some(intended) = plan.reconnects.due(now) {
            self.come_back(swarm, intended)?;
        }
        self.plan = Some(plan);
        Ok(())
    }

    fn on_closed(&mut self, _id: usize, why: Closed) -> anyhow::Result<()> {
        Err(anyhow!("{why}"))
    }
}
