//! Those who catch up: where in its inbox each one is, and since when it waits for the next page.

use std::time::Instant;

use gim_proto::{
    connect::{Packet as Envelope, PacketCommand},
    logic::SyncRequest,
};
use prost::Message as _;

use crate::{
    counts::Counts,
    paired_run::Slice,
    scenario::paired_with_database::PairedClients,
    score::Score,
    stats::Latencies,
    swarm::{
        Behaviour, Connection, Packet, Swarm,
        packet::{Reply, each_synced},
    },
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
    pages: Score,
    wholes: Latencies,
    /// Messages that came in time to count.
    messages: u64,
    /// Readers who wait for a page.
    waiting: usize,
    /// Pages that came.
    answered: u64,
    lost: u64,
    reordered: u64,
    /// Messages that came, measured or not.
    read: u64,
}

impl Readers {
    pub fn new(count: usize, backlog: u32) -> Self {
        let reader = Reader { seq: 0, has: 0, began_at: Instant::now(), asked_at: None };
        Self {
            backlog: backlog.into(),
            readers: vec![reader; count],
            slice: None,
            pages: Score::default(),
            wholes: Latencies::default(),
            messages: 0,
            waiting: 0,
            answered: 0,
            lost: 0,
            reordered: 0,
            read: 0,
        }
    }

    /// Adds what they have seen.
    pub fn count(&self, counts: &mut Counts) {
        counts.add_rate("messages_per_second", self.per_second());
        counts.add_latencies("page", self.pages.latencies());
        counts.add_latencies("whole", &self.wholes);
        counts.add("lost", self.lost as f64);
        counts.add("reordered", self.reordered as f64);
        counts.add("unanswered", self.waiting as f64);
    }

    fn ask(&mut self, connection: &mut Connection) {
        let now = Instant::now();
        let reader = &mut self.readers[connection.id()];
        if reader.has == 0 {
            reader.began_at = now;
        }
        reader.asked_at = Some(now);
        self.waiting += 1;
        let content = SyncRequest { seq: reader.seq, ..SyncRequest::default() }.encode_to_vec().into();
        let packet = Envelope { request_id: "sync".into(), command: SYNC, content, seq: 0 };
        connection.send(&packet.encode_length_delimited_to_vec());
    }

    fn take(&mut self, id: usize, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        let reader = &mut self.readers[id];
        let Some(asked_at) = reader.asked_at.take() else { return Ok(()) };
        self.waiting -= 1;
        self.answered += 1;
        let (before, mut out_of_order) = (reader.has, 0);
        let has_more = each_synced(Reply::read(packet.content)?.accepted("a sync")?, |message| {
            // The inbox of a new user has no gaps.
            out_of_order += u64::from(message.seq != reader.seq + 1);
            reader.seq = reader.seq.max(message.seq);
            reader.has += 1;
            Ok(())
        })?;
        self.reordered += out_of_order;
        let got = reader.has - before;
        self.read += got;
        let began_at = reader.began_at;
        if !has_more {
            self.lost += self.backlog.saturating_sub(reader.has);
            (reader.seq, reader.has) = (0, 0);
        }
        if let Some(slice) = &self.slice {
            self.pages.record(slice, asked_at, now);
            if slice.measures(now) {
                self.messages += got;
                if !has_more {
                    self.wholes.record(now - began_at);
                }
            }
        }
        Ok(())
    }
}

impl PairedClients for Readers {
    const UNIT: &'static str = "messages";

    fn begin(&mut self, slice: Slice, swarm: &mut Swarm) {
        self.slice = Some(slice);
        for id in 0..self.readers.len() {
            // What it waited for others does not count.
            self.readers[id] = Reader { seq: 0, has: 0, ..self.readers[id] };
            self.ask(swarm.connection(id));
        }
    }

    fn end(&mut self) {
        if let Some(slice) = self.slice.take() {
            self.pages.end(&slice);
        }
    }

    fn operations(&self) -> u64 {
        self.read
    }

    fn activity(&self) -> u64 {
        self.answered
    }

    fn is_settled(&self) -> bool {
        self.waiting == 0
    }

    fn per_second(&self) -> Option<f64> {
        self.pages.rate_of(self.messages)
    }
}

impl Behaviour for Readers {
    fn on_packet(&mut self, connection: &mut Connection, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        if packet.command != SYNC {
            return Ok(());
        }
        self.take(connection.id(), packet, now)?;
        if self.slice.is_some_and(|slice| now < slice.end) {
            self.ask(connection);
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
            (readers.readers[0].asked_at, readers.waiting) = (Some(Instant::now()), 1);
            readers.take(0, &packet, Instant::now()).unwrap();
            (readers.lost, readers.reordered)
        };
        assert_eq!(take(&[1, 2, 3], true), (0, 0));
        assert_eq!(take(&[4, 5], false), (0, 0));
        assert_eq!(take(&[1, 3, 3], true), (0, 2));
        assert_eq!(take(&[4], false), (1, 2));
    }
}
