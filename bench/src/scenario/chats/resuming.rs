//! Clients of conversations that come back after the server sent them away: what they sync, and what they say again.

use std::{collections::HashSet, time::Instant};

use gim_proto::{
    connect::{Packet as Envelope, PacketCommand},
    logic::SyncRequest,
};
use prost::Message as _;

use super::Conversations;
use crate::swarm::{
    Connection, Packet,
    packet::{Reply, each_synced},
};

/// A client that came back syncs, and knows by their seqs what it has already.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    pub cursor: u64,
    pub beyond: HashSet<u64>,
}

impl Conversations {
    /// A client is there again: it syncs, and says again whatever was not answered.
    pub fn resume(&mut self, connection: &mut Connection) {
        let client = connection.id();
        let cursor = self.cursors[client];
        self.resumed.insert(client, Resumed { cursor, beyond: HashSet::new() });
        sync_after(connection, cursor);
        if client % self.members >= self.senders {
            return;
        }
        let sender = self.sender(client);
        let unanswered = self.sending[sender].unanswered.iter();
        let mut again: Vec<_> = unanswered.map(|(&number, &intended)| (number, intended)).collect();
        again.sort_unstable();
        again.into_iter().for_each(|(number, intended)| self.say(connection, sender, number, intended));
    }

    /// Whether a client that came back has no message with this seq; of others every message counts.
    pub(super) fn is_new(&mut self, client: usize, seq: u64) -> bool {
        if let Some(cursor) = self.cursors.get_mut(client) {
            *cursor = seq.max(*cursor);
        }
        let Some(Resumed { cursor, beyond }) = self.resumed.get_mut(&client) else { return true };
        seq > *cursor && beyond.insert(seq)
    }

    /// What a client synced that came back; it asks for more while there is any.
    pub fn take_synced(
        &mut self,
        connection: &mut Connection,
        packet: &Packet<'_>,
        now: Instant,
    ) -> anyhow::Result<()> {
        let client = connection.id();
        let page = Reply::read(packet.content)?.accepted("a sync")?;
        let mut newest = 0;
        let has_more = each_synced(page, |message| {
            newest = newest.max(message.seq);
            self.take_message(client, message, true, now)
        })?;
        if has_more {
            sync_after(connection, newest);
        }
        Ok(())
    }
}

fn sync_after(connection: &mut Connection, seq: u64) {
    let content = SyncRequest { seq, ..SyncRequest::default() }.encode_to_vec().into();
    let packet = Envelope { request_id: "sync".into(), command: PacketCommand::PcSync as i32, content, seq: 0 };
    connection.send(&packet.encode_length_delimited_to_vec());
}
