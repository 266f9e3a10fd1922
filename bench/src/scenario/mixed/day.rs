//! All clients of a day. The first ones chat in pairs, the next ones are in rooms, room by room; the others are idle, and
//! some of them come and go.

use std::{collections::HashMap, time::Instant};

use anyhow::{anyhow, ensure};
use gim_proto::{
    connect::{Packet as Envelope, PacketCommand},
    logic::SyncRequest,
};
use prost::Message as _;

use super::{Audience, Conversations, sent_away::SentAway};
use crate::{
    counts::Counts,
    paired_run::Slice,
    scenario::paired_with_database::PairedClients as _,
    score::Score,
    stats::Schedule,
    swarm::{
        Behaviour, Closed, Connection, Packet, Swarm,
        packet::{Message, Reply},
        transport::ServerEndpoint,
    },
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

/// A room, and who is in it.
pub struct Room {
    /// The frame that enters it.
    pub subscription: Vec<u8>,
    /// Its members.
    pub audience: Audience,
}

/// All clients.
pub struct Day {
    pairs: Conversations,
    rooms: Vec<Room>,
    /// Members who are in their room.
    entered: usize,
    endpoints: Vec<ServerEndpoint>,
    greetings: Vec<Box<[u8]>>,
    plan: Option<Plan>,
    /// What was sent on schedule, and how much of it late through our fault.
    scheduled: (u32, u32),
    /// Heartbeats go on from the first connection to the end.
    beats: Schedule,
    /// When the heartbeat that is under way was meant to leave.
    heartbeat_at: Vec<Option<Instant>>,
    heartbeat: Vec<u8>,
    next_heartbeat: usize,
    heartbeats: Score,
    /// Heartbeats under way of those that count.
    beating: u64,
    /// Since when those who come back are on their way.
    returning: HashMap<usize, Instant>,
    /// Of those, who found nobody at so many addresses, and who has to try the next one.
    unreached: HashMap<usize, usize>,
    elsewhere: Vec<(usize, usize)>,
    /// Those whom the server sent away.
    sent_away: SentAway,
    reconnects: Score,
    next_return: usize,
    sign_ins: Score,
    failed: u64,
    /// Heartbeats that count, and people, that came back.
    returned: u64,
}

impl Day {
    /// The first clients are the pairs, the next ones are in the rooms.
    pub fn new(
        endpoints: Vec<ServerEndpoint>,
        greetings: Vec<Box<[u8]>>,
        pairs: Conversations,
        rooms: Vec<Room>,
        heartbeat_s: u32,
    ) -> Self {
        Self {
            pairs,
            rooms,
            entered: 0,
            endpoints,
            plan: None,
            scheduled: (0, 0),
            beats: Schedule::new(Instant::now(), greetings.len() as f64 / f64::from(heartbeat_s)),
            heartbeat_at: vec![None; greetings.len()],
            heartbeat: Envelope { command: HEARTBEAT, ..Envelope::default() }.encode_length_delimited_to_vec(),
            next_heartbeat: 0,
            heartbeats: Score::default(),
            beating: 0,
            returning: HashMap::new(),
            unreached: HashMap::new(),
            elsewhere: Vec::new(),
            sent_away: SentAway::default(),
            reconnects: Score::default(),
            next_return: 0,
            sign_ins: Score::default(),
            failed: 0,
            returned: 0,
            greetings,
        }
    }

    /// Everything goes on from now on; messages per second in a room, returns per second.
    pub fn begin(&mut self, slice: Slice, rates: [f64; 2], swarm: &mut Swarm) {
        let now = Instant::now();
        let [rooms, reconnects] = rates.map(|rate| Schedule::new(now, rate).until(slice.end));
        self.plan = Some(Plan { slice, rooms, reconnects });
        self.pairs.begin(slice, swarm);
    }

    /// It is over, or breaks off now.
    pub fn end(&mut self) {
        self.pairs.end();
        let Some(plan) = self.plan.take() else { return };
        let of_rooms = self.rooms.iter_mut().map(|room| &mut room.audience.score);
        of_rooms
            .chain([&mut self.heartbeats, &mut self.sign_ins, &mut self.reconnects])
            .for_each(|score| score.end(&plan.slice));
        let all = [self.beats.sent(), plan.rooms.sent(), plan.reconnects.sent(), self.pairs.scheduled()];
        self.scheduled = all.iter().fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
    }

    /// What was sent on schedule, and how much of it late through our fault.
    pub fn scheduled(&self) -> (u32, u32) {
        self.scheduled
    }

    /// Grows with whatever has to arrive.
    pub fn activity(&self) -> u64 {
        let delivered: u64 = self.rooms.iter().map(|room| room.audience.received()).sum();
        self.entered as u64 + self.pairs.activity() + delivered + self.returned
    }

    /// Whether all members are in their rooms.
    pub fn is_gathered(&self) -> bool {
        self.entered >= self.first_idle() - self.chatting()
    }

    /// Whether all that was meant to be sent has been, and has arrived.
    pub fn is_settled(&self) -> bool {
        let is_due = |plan: &Plan| plan.rooms.next().or(plan.reconnects.next()).is_some();
        let is_under_way = self.beating > 0
            || !self.returning.is_empty()
            || self.sent_away.absent() > 0
            || self.plan.as_ref().is_some_and(is_due);
        !is_under_way && self.pairs.is_settled() && self.rooms.iter().all(|room| room.audience.has_all())
    }

    pub fn summary(&self, standing: usize) -> String {
        let (chats, sign_ins) = (self.pairs.done(), self.sign_ins.done());
        format!("{standing} connections, {chats} chat messages, {sign_ins} came back")
    }

    /// Adds what all have seen.
    pub fn count(&self, counts: &mut Counts) {
        self.pairs.count(counts);
        counts.add("unanswered", self.beating as f64 + self.returning.len() as f64);
        counts.add("sent_away", self.sent_away.count() as f64);
        counts.add("still_away", self.sent_away.absent() as f64);
        counts.add_latencies("reconnects", self.reconnects.latencies());
        counts.add("failed", self.failed as f64);
        counts.add_score("heartbeats", &self.heartbeats);
        counts.add_score("sign_ins", &self.sign_ins);
        for Room { audience, .. } in &self.rooms {
            counts.add_score("rooms", &audience.score);
            counts.add("lost", audience.lost() as f64);
            counts.add("missed", audience.missed() as f64);
            counts.add("reordered", audience.reordered as f64);
        }
    }

    /// Whether what is meant to begin at this time counts.
    fn counts(&self, intended: Instant) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.slice.measures(intended))
    }

    fn chatting(&self) -> usize {
        self.pairs.clients()
    }

    /// The room of a client, and its number in it.
    fn place(&self, id: usize) -> Option<(usize, usize)> {
        let id = id.checked_sub(self.chatting())?;
        let members = self.rooms.first()?.audience.members;
        let room = id / members;
        (room < self.rooms.len()).then_some((room, id % members))
    }

    fn first_idle(&self) -> usize {
        self.chatting() + self.rooms.iter().map(|room| room.audience.members).sum::<usize>()
    }

    fn beat(&mut self, swarm: &mut Swarm, intended: Instant) {
        // It is the turn of each once per interval, also of those who are not there yet.
        let id = self.next_heartbeat;
        self.next_heartbeat = (id + 1) % self.greetings.len();
        if id < swarm.len() && swarm.is_ready(id) {
            swarm.connection(id).send(&self.heartbeat);
            if self.heartbeat_at[id].is_none() {
                self.heartbeat_at[id] = Some(intended);
                self.beating += u64::from(self.counts(intended));
            }
        }
    }

    /// The heartbeat of a client is no longer under way: when it was meant to leave.
    fn take_beat(&mut self, id: usize) -> Option<Instant> {
        let intended = self.heartbeat_at[id].take()?;
        if self.counts(intended) {
            self.beating -= 1;
            self.returned += 1;
        }
        Some(intended)
    }

    /// One of those who are idle drops its connection and comes back.
    fn come_back(&mut self, swarm: &mut Swarm, intended: Instant) -> anyhow::Result<()> {
        let idle = self.greetings.len() - self.first_idle();
        let id = self.first_idle() + self.next_return;
        self.next_return = (self.next_return + 1) % idle;
        if self.sent_away.contains(id) {
            return Ok(());
        }
        ensure!(
            self.returning.insert(id, intended).is_none(),
            "of {idle} devices that come and go, one was to leave again before it was back: the server does not answer, or \
             --reconnects asks for more than they can do"
        );
        self.take_beat(id);
        swarm.hang_up(id)?;
        swarm.reopen(id, &self.endpoints[id % self.endpoints.len()], self.greetings[id].clone())
    }
}

impl Behaviour for Day {
    fn on_ready(&mut self, connection: &mut Connection, now: Instant) -> anyhow::Result<()> {
        if let Some(since) = self.sent_away.back(connection.id()) {
            self.returned += 1;
            if let Some(plan) = &self.plan {
                self.reconnects.record(&plan.slice, since, now);
            }
            if connection.id() < self.chatting() {
                self.pairs.resume(connection);
            }
        }
        if let Some((room, _)) = self.place(connection.id()) {
            connection.send(&self.rooms[room].subscription);
        } else if let Some(intended) = self.returning.remove(&connection.id()) {
            self.unreached.remove(&connection.id());
            self.returned += 1;
            if let Some(plan) = &self.plan {
                self.sign_ins.record(&plan.slice, intended, now);
            }
            let content = SyncRequest::default().encode_to_vec().into();
            let packet = Envelope { request_id: "sync".into(), command: SYNC, content, seq: 0 };
            connection.send(&packet.encode_length_delimited_to_vec());
        }
        Ok(())
    }

    fn on_packet(&mut self, connection: &mut Connection, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        let id = connection.id();
        match packet.command {
            HEARTBEAT => {
                if let Some(intended) = self.take_beat(id)
                    && let Some(plan) = &self.plan
                {
                    self.heartbeats.record(&plan.slice, intended, now);
                }
                Ok(())
            }
            SUBSCRIBE => {
                self.entered += 1;
                if let Some((room, member)) = self.place(id) {
                    let attendance = self.rooms[room].audience.attendance();
                    attendance.into_iter().for_each(|attendance| attendance.entered(member, now));
                }
                Reply::read(packet.content)?.accepted("a subscription").map(drop)
            }
            SYNC if id < self.chatting() => self.pairs.take_synced(connection, packet, now),
            SYNC => Reply::read(packet.content)?.accepted("a sync").map(drop),
            _ if id < self.chatting() => self.pairs.on_packet(connection, packet, now),
            MESSAGE => {
                if let Some((room, member)) = self.place(id) {
                    let slice = self.plan.as_ref().map(|plan| &plan.slice);
                    self.rooms[room].audience.take(member, &Message::read(packet.content)?, now, slice);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let plan = self.plan.as_ref()?;
        let away = self.sent_away.next_due();
        let all = [self.beats.next(), plan.rooms.next(), plan.reconnects.next(), self.pairs.next_due(), away];
        all.into_iter().flatten().min()
    }

    fn on_tick(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        self.pairs.on_tick(swarm)?;
        self.rooms.iter().try_for_each(|room| room.audience.check())?;
        let now = Instant::now();
        while let Some(intended) = self.beats.due(now) {
            self.beat(swarm, intended);
        }
        while let Some(intended) = self.plan.as_mut().and_then(|plan| plan.rooms.due(now)) {
            self.rooms.iter_mut().try_for_each(|room| room.audience.push(intended))?;
        }
        while let Some(intended) = self.plan.as_mut().and_then(|plan| plan.reconnects.due(now)) {
            self.come_back(swarm, intended)?;
        }
        for (id, tries) in std::mem::take(&mut self.elsewhere) {
            let to = &self.endpoints[(id + tries) % self.endpoints.len()];
            swarm.reopen(id, to, self.greetings[id].clone())?;
        }
        while let Some((id, tries, endpoint)) = self.sent_away.due(now) {
            let known = &self.endpoints[(id + tries) % self.endpoints.len()];
            let to = known.moved_to(&endpoint).unwrap_or_else(|| known.clone());
            swarm.reopen(id, &to, self.greetings[id].clone())?;
        }
        Ok(())
    }

    fn on_closed(&mut self, id: usize, why: Closed) -> anyhow::Result<()> {
        let was_there = !self.sent_away.contains(id);
        if self.sent_away.take(id, &why, Instant::now()) {
            if was_there {
                self.take_beat(id);
                if let Some((room, member)) = self.place(id) {
                    let attendance = self.rooms[room].audience.attendance();
                    attendance.into_iter().for_each(|attendance| attendance.left(member, Instant::now()));
                }
            }
            return Ok(());
        }
        // A node that drained is gone, as any of several may be.
        if matches!(why, Closed::Unreachable(_)) && self.returning.contains_key(&id) {
            let tries = self.unreached.entry(id).or_default();
            *tries += 1;
            if *tries < self.endpoints.len() {
                self.elsewhere.push((id, *tries));
                return Ok(());
            }
        }
        self.failed += u64::from(self.returning.contains_key(&id));
        Err(anyhow!("{why}"))
    }
}
