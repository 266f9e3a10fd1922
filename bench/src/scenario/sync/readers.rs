//! Those who catch up: where in its inbox each one is, and since when it waits for the next page.

use std::time::{Duration, Instant};

use anyhow::ensure;
use gim_proto::{
    connect::{Packet as Envelope, PacketCommand},
    logic::SyncRequest,
};
use prost::Message as _;

use crate::{
    duel::{Side, Slice},
    stats::{Latencies, ratio},
    swarm::{
        Behaviour, Link, Packet, Swarm,
        packet::{Reply, each_synced},
    },
    tally::Tally,
    target::DEADLINE,
};

const SYNC: i32 = PacketCommand::PcSync as i32;

/// One device.
#[derive(Debug, Clone, Copy)]
struct Reader {
    /// Newest seq that it has.
    seq: u64,
    /// Messages that it has, since it last began anew.
    has: u64,
    began_at: Instant,
    asked_at: Option<Instant>,
}

/// All of them.
pub struct Readers {
    backlog: u64,
    readers: Vec<Reader>,
    slice: Option<Slice>,
    pages: Latencies,
    wholes: Latencies,
    /// Messages that count.
    messages: u64,
    measured: Duration,
    lost: u64,
    reordered: u64,
}

impl Readers {
    pub fn new(count: usize, backlog: u32) -> Self {
        let reader = Reader { seq: 0, has: 0, began_at: Instant::now(), asked_at: None };
        Self {
            backlog: backlog.into(),
            readers: vec![reader; count],
            slice: None,
            pages: Latencies::default(),
            wholes: Latencies::default(),
            messages: 0,
            measured: Duration::ZERO,
            lost: 0,
            reordered: 0,
        }
    }

    pub fn per_second(&self) -> f64 {
        ratio(self.messages as f64, self.measured.as_secs_f64())
    }

    /// Adds what they have seen.
    pub fn count(&self, tally: &mut Tally) {
        tally.add("messages_per_second", self.per_second());
        tally.add_latencies("page", &self.pages);
        tally.add_latencies("whole", &self.wholes);
        tally.add("lost", self.lost as f64);
        tally.add("reordered", self.reordered as f64);
    }

    pub fn begin(&mut self, slice: Slice, swarm: &mut Swarm) {
        self.slice = Some(slice);
        for id in 0..self.readers.len() {
            // What it waited for others does not count.
            self.readers[id] = Reader { seq: 0, has: 0, ..self.readers[id] };
            self.ask(swarm.link(id));
        }
    }

    /// Nothing more is asked.
    pub fn end(&mut self, slice: Slice) {
        self.slice = None;
        self.measured += slice.measured();
    }

    /// Turns until all that was asked is answered.
    pub fn settle(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while self.readers.iter().any(|reader| reader.asked_at.is_some()) {
            ensure!(Instant::now() < deadline, "a sync was not answered within {DEADLINE:?}");
            swarm.turn(self, DEADLINE)?;
        }
        Ok(())
    }

    fn ask(&mut self, link: &mut Link) {
        let now = Instant::now();
        let reader = &mut self.readers[link.id()];
        if reader.has == 0 {
            reader.began_at = now;
        }
        reader.asked_at = Some(now);
        let content = SyncRequest { seq: reader.seq, ..SyncRequest::default() }.encode_to_vec().into();
        let packet = Envelope { request_id: "sync".into(), command: SYNC, content, seq: 0 };
        link.send(&packet.encode_length_delimited_to_vec());
    }

    fn take(&mut self, id: usize, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        let counts = self.slice.is_some_and(|slice| slice.measures(Side::Server, now));
        let reader = &mut self.readers[id];
        let (before, mut out_of_order) = (reader.has, 0);
        let has_more = each_synced(Reply::read(packet.content)?.accepted("a sync")?, |message| {
            // The inbox of a new user has no gaps.
            out_of_order += u64::from(message.seq != reader.seq + 1);
            reader.seq = reader.seq.max(message.seq);
            reader.has += 1;
            Ok(())
        })?;
        self.reordered += out_of_order;
        let asked_at = reader.asked_at.take();
        let got = reader.has - before;
        let began_at = reader.began_at;
        if !has_more {
            self.lost += self.backlog.saturating_sub(reader.has);
            (reader.seq, reader.has) = (0, 0);
        }
        if counts {
            self.messages += got;
            asked_at.inspect(|&at| self.pages.record(now - at));
            if !has_more {
                self.wholes.record(now - began_at);
            }
        }
        Ok(())
    }
}

impl Behaviour for Readers {
    fn on_packet(&mut self, link: &mut Link, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        if packet.command != SYNC {
            return Ok(());
        }
        self.take(link.id(), packet, now)?;
        if self.slice.is_some_and(|slice| now < slice.end) {
            self.ask(link);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gim_proto::{connect, logic::SyncReply};

    use super::*;

    fn page(seqs: &[u64], has_more: bool) -> Vec<u8> {
        let messages = seqs.iter().map(|&seq| connect::Message { seq, ..Default::default() }).collect();
        let data = SyncReply { messages, has_more, ..SyncReply::default() }.encode_to_vec().into();
        connect::Reply { data, ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn gaps_and_missing_ends_are_told() {
        let mut readers = Readers::new(1, 5);
        let mut take = |seqs: &[u64], has_more| {
            let content = page(seqs, has_more);
            let packet = Packet { command: SYNC, content: &content, ..Packet::default() };
            readers.take(0, &packet, Instant::now()).unwrap();
            (readers.lost, readers.reordered)
        };
        assert_eq!(take(&[1, 2, 3], true), (0, 0));
        assert_eq!(take(&[4, 5], false), (0, 0));
        assert_eq!(take(&[1, 3, 3], true), (0, 2));
        assert_eq!(take(&[4], false), (1, 2));
    }
}
