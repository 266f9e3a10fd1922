//! Rooms in Redis: who has subscribers, the next seq, what is kept for those who come later.

use std::{
    collections::HashSet,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use foldhash::HashSet as FoldHashSet;
use gim_proto::connect;
use metrics::counter;
use prost::Message as _;
use redis::{Cmd, cmd};

use super::{
    RedisState,
    client::read,
    retained_bytes::RetainedBytes,
    scripts::{self, IDLE_MS, script},
};
use crate::{
    domain::route::NodeKey,
    metrics as names,
    shared_state::{Kept, Published, RESERVATIONS_MAX, RoomMessage, SharedStateError},
    store::room::BLOCK_SEQS,
};

/// How often interests are said again: a Redis that is short of memory may forget a room, and nobody asks for one.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// Rooms whose interests are said in one round trip.
const REFRESH_ROOMS: usize = 1000;

impl RedisState {
    pub(super) async fn note_interest(
        &self,
        room_id: u64,
        node: &Arc<NodeKey>,
        interested: bool,
    ) -> Result<(), SharedStateError> {
        if interested && !self.is_current(node) {
            return Ok(());
        }
        {
            let mut here = self.here();
            if !interested {
                if let Some(nodes) = here.rooms.get_mut(&room_id) {
                    nodes.remove(node);
                    if nodes.is_empty() {
                        here.rooms.remove(&room_id);
                    }
                }
            } else if here.rooms.len() >= self.room_settings.rooms_max && !here.rooms.contains_key(&room_id) {
                counter!(names::ROOMS_FULL).increment(1);
                return Err(SharedStateError::RoomsFull);
            } else {
                here.rooms.entry(room_id).or_default().insert(node.clone());
            }
        }
        if interested {
            return self.client.run_all(self.interest_commands(room_id, node)).await.map(drop);
        }
        let mut forget = cmd("HDEL");
        forget.arg(self.keys.room_nodes(room_id)).arg(self.interest_field(node));
        self.client.run(forget).await
    }

    fn interest_commands(&self, room_id: u64, node: &NodeKey) -> Vec<Cmd> {
        let key = self.keys.room_nodes(room_id);
        let (mut set, mut expire) = (cmd("HSET"), cmd("PEXPIRE"));
        set.arg(&key).arg(self.interest_field(node)).arg(format!("{}:{}", node.epoch, node.name));
        expire.arg(&key).arg(IDLE_MS);
        vec![set, expire]
    }

    /// Each logic node has its own say: one that hears late that the last subscriber left takes nothing from the others.
    fn interest_field(&self, node: &NodeKey) -> String {
        format!("{}\0{}", self.name, node.name)
    }

    pub(super) async fn refresh_interests(&self) -> Result<(), SharedStateError> {
        let rooms: Vec<(u64, Arc<NodeKey>)> = {
            let mut here = self.here();
            let attached: FoldHashSet<Arc<NodeKey>> = here.attached.values().map(|node| node.key.clone()).collect();
            here.rooms.retain(|_, nodes| {
                nodes.retain(|node| attached.contains(node));
                !nodes.is_empty()
            });
            let refreshed = here.rooms_refreshed.get_or_insert_with(Instant::now);
            if refreshed.elapsed() < REFRESH_INTERVAL {
                return Ok(());
            }
            *refreshed = Instant::now();
            here.rooms
                .iter()
                .flat_map(|(&room_id, nodes)| nodes.iter().map(move |node| (room_id, node.clone())))
                .collect()
        };
        for part in rooms.chunks(REFRESH_ROOMS) {
            let commands = part.iter().flat_map(|(room_id, node)| self.interest_commands(*room_id, node));
            self.client.run_all(commands.collect()).await?;
        }
        Ok(())
    }

    pub(super) async fn publish_in_room(&self, message: RoomMessage) -> Result<Published, SharedStateError> {
        let RoomMessage { message, is_retained, is_priority } = message;
        let room_id = message.room_id;
        let body = connect::Message { room_seq: 0, ..message }.encode_to_vec();
        let is_retained = is_retained && self.has_bytes_for(body.len());
        let keys = [self.keys.room(room_id), self.keys.room_kept(room_id), self.keys.room_nodes(room_id)];
        for _ in 0..RESERVATIONS_MAX {
            let mut publish = script(scripts::PUBLISH, &keys);
            publish.arg(&body).arg(u8::from(is_retained)).arg(self.room_settings.retained_count_max);
            publish.arg(self.room_settings.retained_bytes_max).arg(self.room_settings.retained_ms.max(1)).arg(IDLE_MS);
            publish.arg(&self.name).arg(u8::from(is_priority));
            let mut answer: Vec<redis::Value> = self.client.run(publish).await?;
            if let (Some(bytes), Some(nodes), Some(after_seq), Some(seq)) =
                (answer.pop(), answer.pop(), answer.pop(), answer.pop())
            {
                if is_retained {
                    self.retained().set(room_id, read(bytes)?, Instant::now());
                }
                let (seq, nodes): (u64, Vec<(Vec<u8>, String)>) = (read(seq)?, read(nodes)?);
                let (after_seq, mut nodes) = (Some(read(after_seq)?), read_nodes(nodes));
                self.repair_interests(room_id, &mut nodes).await;
                return Ok(Published { seq, after_seq, encoded: with_seq(&body, seq), nodes });
            }
            let reserved_until = self.room_seqs.reserve(room_id).await?;
            let mut grant = script(scripts::GRANT, &[self.keys.room(room_id)]);
            grant.arg(reserved_until).arg(BLOCK_SEQS).arg(IDLE_MS);
            self.client.run::<i64>(grant).await?;
        }
        Err(SharedStateError::Away("a room's seqs were forgotten again and again".into()))
    }

    /// What Redis has forgotten of who has subscribers through here, it is told again. They get the message all the same, which has its
    /// number already: a Redis that is away now is told by [`RedisState::refresh_interests`].
    async fn repair_interests(&self, room_id: u64, nodes: &mut Vec<Arc<NodeKey>>) {
        let forgotten: Vec<Arc<NodeKey>> = {
            let here = self.here();
            let ours = here.rooms.get(&room_id).into_iter().flatten();
            ours.filter(|node| !nodes.contains(node)).cloned().collect()
        };
        for node in forgotten.into_iter().filter(|node| self.is_current(node)) {
            if let Err(error) = self.client.run_all(self.interest_commands(room_id, &node)).await {
                tracing::debug!(%error, room_id, "a forgotten interest is not told again yet");
            }
            nodes.push(node);
        }
    }

    fn retained(&self) -> MutexGuard<'_, RetainedBytes> {
        self.retained.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_bytes_for(&self, bytes: usize) -> bool {
        let has_bytes = self.retained().has_bytes_for(bytes, Instant::now());
        if !has_bytes {
            counter!(names::ROOMS_RETAINED_FULL).increment(1);
        }
        has_bytes
    }

    pub(super) async fn kept(&self, room_id: u64, seq: u64) -> Result<Kept, SharedStateError> {
        let kept = script(scripts::KEPT, &[self.keys.room_kept(room_id), self.keys.room(room_id)]);
        let (now_ms, kept, newest_seq): (i64, Vec<Vec<u8>>, u64) = self.client.run(kept).await?;
        let retained_ms = i64::try_from(self.room_settings.retained_ms).unwrap_or(i64::MAX);
        let wanted = kept
            .iter()
            .filter_map(|stored| scripts::decode_kept(stored))
            .filter(|(kept_seq, at_ms, _)| *kept_seq > seq && now_ms.saturating_sub(*at_ms) < retained_ms);
        Ok(Kept { messages: wanted.map(|(seq, _, body)| with_seq(body, seq)).collect(), newest_seq })
    }
}

/// An encoded message gets its seq by appending the field, which is as good as encoding it with it.
fn with_seq(body: &[u8], seq: u64) -> Bytes {
    let field = connect::Message { room_seq: seq, ..connect::Message::default() };
    let mut encoded = Vec::with_capacity(body.len() + field.encoded_len());
    encoded.extend_from_slice(body);
    encoded.extend_from_slice(&field.encode_to_vec());
    encoded.into()
}

/// The nodes that anybody says have subscribers, each once.
fn read_nodes(stored: Vec<(Vec<u8>, String)>) -> Vec<Arc<NodeKey>> {
    let node = |(_, stored): (Vec<u8>, String)| {
        let (epoch, name) = stored.split_once(':')?;
        Some(Arc::new(NodeKey { name: name.to_owned(), epoch: epoch.parse().ok()? }))
    };
    let nodes: HashSet<Arc<NodeKey>> = stored.into_iter().filter_map(node).collect();
    nodes.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seq_that_is_appended_reads_like_any_other() {
        let message = connect::Message { room_id: 9, content: b"x"[..].into(), ..connect::Message::default() };
        let encoded = with_seq(&message.encode_to_vec(), u64::MAX);
        assert_eq!(connect::Message::decode(encoded).unwrap(), connect::Message { room_seq: u64::MAX, ..message });
    }
}
