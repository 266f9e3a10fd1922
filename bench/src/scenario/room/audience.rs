//! Those who listen: what each member has got, in which order, how late, and when the next burst is due.

use std::time::Instant;

use anyhow::ensure;
use gim_proto::connect::{PacketCommand, Reply};
use prost::Message as _;

use super::{WINDOW, attendance::Attendance, pusher::Pusher};
use crate::{
    counts::Counts,
    paired_run::{Side, Slice},
    score::Score,
    stats::Schedule,
    swarm::{Behaviour, Connection, Packet, Swarm, packet::Message},
};

const MESSAGE: i32 = PacketCommand::PcMessage as i32;
const SUBSCRIBE: i32 = PacketCommand::PcSubscribeRoom as i32;

/// The members on one side, and who pushes to them.
pub struct Audience {
    pub members: usize,
    pub burst: u32,
    pub pushed: u64,
    pub score: Score,
    pub reordered: u64,
    pusher: Pusher,
    /// Newest seq of each member.
    seqs: Vec<u64>,
    received: u64,
    /// Where members may come and go.
    attendance: Option<Attendance>,
}

impl Audience {
    pub fn new(members: usize, burst: u32, pusher: Pusher) -> Self {
        Self {
            members,
            burst,
            pushed: 0,
            score: Score::default(),
            reordered: 0,
            pusher,
            seqs: vec![0; members],
            received: 0,
            attendance: None,
        }
    }

    /// Members may be sent away and come back, which [`Attendance`] is told.
    pub fn with_attendance(mut self) -> Self {
        self.attendance = Some(Attendance::default());
        self
    }

    pub fn attendance(&mut self) -> Option<&mut Attendance> {
        self.attendance.as_mut()
    }

    /// Deliveries that nobody can expect, as a member was away.
    pub fn missed(&self) -> u64 {
        self.attendance.as_ref().map_or(0, |attendance| attendance.missing(self.members, true))
    }

    pub fn has_all(&self) -> bool {
        self.lost() == 0
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    pub fn lost(&self) -> u64 {
        match &self.attendance {
            Some(attendance) => attendance.missing(self.members, false),
            None => self.expected().saturating_sub(self.received),
        }
    }

    fn expected(&self) -> u64 {
        self.pushed * self.members as u64
    }

    /// Has one burst pushed.
    pub fn push(&mut self, intended: Instant) -> anyhow::Result<()> {
        self.pusher.push(intended, self.burst)?;
        if let Some(attendance) = &mut self.attendance {
            attendance.pushed(intended);
        }
        self.pushed += u64::from(self.burst);
        Ok(())
    }

    /// The failure of the pusher, if it has failed.
    pub fn check(&self) -> anyhow::Result<()> {
        self.pusher.check()
    }

    /// Keeps [`WINDOW`] bursts under way.
    fn push_what_fits(&mut self, now: Instant) -> anyhow::Result<()> {
        let burst_deliveries = u64::from(self.burst) * self.members as u64;
        while self.lost() + burst_deliveries <= WINDOW * burst_deliveries {
            self.push(now)?;
        }
        Ok(())
    }

    /// A member got a message, in this slice or what is left of it.
    pub fn take(&mut self, member: usize, message: &Message<'_>, now: Instant, slice: Option<&Slice>) {
        self.received += 1;
        // An older build, which may be compared with this one, numbers rooms in `seq`; older clients hear no number, and go by the times.
        let seq = message.room_seq.max(message.seq);
        let (place, is_twice) = match seq {
            0 => (Pusher::time_in(message.content), false),
            _ => (seq, seq == self.seqs[member]),
        };
        self.reordered += u64::from(place < self.seqs[member] || is_twice);
        self.seqs[member] = place;
        let Some(intended) = self.pusher.intended(message.content) else { return };
        if let Some(attendance) = &mut self.attendance {
            attendance.delivered(intended);
        }
        if let Some(slice) = slice {
            self.score.record(slice, intended, now);
        }
    }
}

/// Both audiences: the first half of the clients is in the room, the second at the bare write loop, or in a room of their own.
pub struct Hall {
    pub server: Audience,
    pub baseline: Audience,
    pub members: usize,
    pub slice: Option<Slice>,
    pub subscription: Vec<u8>,
    /// The same for the second half; empty for the bare write loop.
    pub baseline_subscription: Vec<u8>,
    pub subscribed: usize,
    /// Bursts per second in an open loop.
    pub per_second: Option<f64>,
    pub schedule: Option<Schedule>,
    /// What an open loop sent, and how much of it late through our fault.
    pub scheduled: (u32, u32),
}

impl Hall {
    pub fn audience(&mut self, side: Side) -> &mut Audience {
        match side {
            Side::Server => &mut self.server,
            Side::Baseline => &mut self.baseline,
        }
    }

    pub fn begin(&mut self, slice: Slice) -> anyhow::Result<()> {
        self.slice = Some(slice);
        self.schedule = self.per_second.map(|bursts| Schedule::new(Instant::now(), bursts).until(slice.end));
        self.push(Instant::now())
    }

    /// The slice is over, or breaks off now.
    pub fn end(&mut self) {
        if let Some(slice) = self.slice.take() {
            self.audience(slice.side).score.end(&slice);
        }
        if let Some((sent, late)) = self.schedule.take().map(|schedule| schedule.sent()) {
            self.scheduled.0 += sent;
            self.scheduled.1 += late;
        }
    }

    /// Adds what both audiences have seen.
    pub fn count(&self, counts: &mut Counts) {
        for (key, audience) in [("server", &self.server), ("baseline", &self.baseline)] {
            counts.add_score(key, &audience.score);
        }
        counts.add("messages", self.server.pushed as f64);
        counts.add("lost", self.server.lost() as f64);
        counts.add("reordered", self.server.reordered as f64);
    }

    /// Grows with whatever happens.
    pub fn activity(&self) -> u64 {
        self.server.received + self.baseline.received + self.subscribed as u64
    }

    /// Whether all that was meant to be pushed has been, and has arrived.
    pub fn is_settled(&self) -> bool {
        self.next_due().is_none() && self.server.has_all() && self.baseline.has_all()
    }

    pub fn summary(&self) -> String {
        let [server, baseline] =
            [&self.server, &self.baseline].map(|audience| audience.score.per_second().unwrap_or_default());
        format!("{server:.0} deliveries/s, beside it {baseline:.0}/s")
    }

    fn push(&mut self, now: Instant) -> anyhow::Result<()> {
        let Some(slice) = self.slice else { return Ok(()) };
        let audience = match slice.side {
            Side::Server => &mut self.server,
            Side::Baseline => &mut self.baseline,
        };
        match &mut self.schedule {
            None if now >= slice.end => Ok(()),
            None => audience.push_what_fits(now),
            Some(schedule) => {
                while let Some(intended) = schedule.due(now) {
                    audience.push(intended)?;
                }
                Ok(())
            }
        }
    }
}

impl Behaviour for Hall {
    fn on_ready(&mut self, connection: &mut Connection, _now: Instant) -> anyhow::Result<()> {
        let is_first = connection.id() < self.members;
        connection.send(if is_first { &self.subscription } else { &self.baseline_subscription });
        Ok(())
    }

    fn on_packet(&mut self, connection: &mut Connection, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        let (side, member) = match connection.id().checked_sub(self.members) {
            None => (Side::Server, connection.id()),
            Some(member) => (Side::Baseline, member),
        };
        if packet.command == MESSAGE {
            let message = Message::read(packet.content)?;
            let slice = self.slice;
            self.audience(side).take(member, &message, now, slice.as_ref());
        } else if packet.command == SUBSCRIBE {
            let Reply { code, message, .. } = Reply::decode(packet.content)?;
            ensure!(code == 0, "a member was not let into the room, code {code}: {message}");
            self.subscribed += 1;
        }
        Ok(())
    }

    fn next_due(&self) -> Option<Instant> {
        self.schedule.as_ref().and_then(Schedule::next)
    }

    fn on_tick(&mut self, _swarm: &mut Swarm) -> anyhow::Result<()> {
        self.server.check()?;
        self.baseline.check()?;
        self.push(Instant::now())
    }
}
