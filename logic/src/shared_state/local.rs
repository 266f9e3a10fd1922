//! The shared state of a single logic node, in its own memory. Any task; no lock is held across an await.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gim_proto::logic::ConnectionUser;
use tonic::async_trait;

use super::{
    Kept, Published, PutRoutes, RESERVATIONS_MAX, RoomMessage, SharedState, SharedStateError,
    presence::{NameTaken, Presence},
    rooms::{NoSeq, Rooms},
};
use crate::{
    domain::{
        clock::SteadyClock,
        locate::NodeInfo,
        out_of_date::OutOfDate,
        route::{NodeKey, Route},
    },
    metrics as names,
    settings::RoomSettings,
    store::RoomSeqs,
};

/// Routes and rooms in this process; room seqs are reserved in the database.
#[derive(Debug)]
pub struct LocalState {
    presence: Mutex<Presence>,
    rooms: Mutex<Rooms>,
    room_seqs: RoomSeqs,
    /// What the attached nodes told of themselves.
    infos: Mutex<Vec<NodeInfo>>,
    clock: SteadyClock,
    /// Of this process alone.
    deployment: String,
}

impl LocalState {
    /// Nobody is connected yet.
    pub fn new(lease: Duration, room_settings: RoomSettings, room_seqs: RoomSeqs) -> Self {
        let (presence, rooms) = (Mutex::new(Presence::new(lease)), Mutex::new(Rooms::new(room_settings)));
        let deployment = format!("{:016x}", rand::random::<u64>());
        Self { presence, rooms, room_seqs, infos: Mutex::default(), clock: SteadyClock::default(), deployment }
    }

    fn presence(&self) -> MutexGuard<'_, Presence> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rooms_full() -> SharedStateError {
    metrics::counter!(names::ROOMS_FULL).increment(1);
    SharedStateError::RoomsFull
}

#[async_trait]
impl SharedState for LocalState {
    async fn attach_node(&self, node: &Arc<NodeKey>) -> Result<(), SharedStateError> {
        let former = self.presence().attach(node, Instant::now());
        if let Some(former) = former.map_err(|NameTaken| SharedStateError::NameTaken(node.name.clone()))? {
            self.rooms().forget_node(&former);
        }
        Ok(())
    }

    async fn detach_node(&self, node: &Arc<NodeKey>) -> Result<(), SharedStateError> {
        self.presence().detach(node, Instant::now());
        Ok(())
    }

    async fn renew(&self, infos: Vec<(Arc<NodeKey>, NodeInfo)>) -> Result<Vec<Arc<NodeKey>>, SharedStateError> {
        *self.infos.lock().unwrap_or_else(PoisonError::into_inner) = infos.into_iter().map(|(_, info)| info).collect();
        Ok(Vec::new())
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, SharedStateError> {
        Ok(self.infos.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn deployment(&self) -> String {
        self.deployment.clone()
    }

    async fn strangers(&self, numbers: &[u16]) -> Result<Vec<u16>, SharedStateError> {
        Ok(numbers.to_vec())
    }

    async fn put_routes(&self, routes: Vec<Route>) -> Result<PutRoutes, SharedStateError> {
        let (mut presence, now) = (self.presence(), Instant::now());
        let mut put = PutRoutes::default();
        for route in routes {
            let user_id = route.user_id;
            put.losers.extend(presence.put(route, now));
            put.of_one_user = put.of_one_user.max(presence.count(user_id));
        }
        Ok(put)
    }

    async fn remove_route(&self, route: &Route) -> Result<bool, SharedStateError> {
        Ok(self.presence().remove(route))
    }

    async fn remove_connections(&self, node: &Arc<NodeKey>, connection_ids: &[u64]) -> Result<(), SharedStateError> {
        let mut presence = self.presence();
        for &connection_id in connection_ids {
            presence.remove_connection(node, connection_id);
        }
        Ok(())
    }

    async fn routes_of(&self, user_ids: &[u64]) -> Result<Vec<Route>, SharedStateError> {
        let (presence, now) = (self.presence(), Instant::now());
        Ok(user_ids.iter().flat_map(|&user_id| presence.routes(user_id, now)).cloned().collect())
    }

    async fn user_of_device(&self, device_id: u64) -> Result<Option<u64>, SharedStateError> {
        Ok(self.presence().user_of_device(device_id, Instant::now()))
    }

    async fn touch(
        &self,
        _node: &Arc<NodeKey>,
        _connections: Vec<ConnectionUser>,
    ) -> Result<Vec<ConnectionUser>, SharedStateError> {
        Ok(Vec::new())
    }

    async fn set_interest(&self, room_id: u64, node: &Arc<NodeKey>, interested: bool) -> Result<(), SharedStateError> {
        let now = Instant::now();
        if interested && !self.presence().is_valid(node, now) {
            return Ok(());
        }
        if self.rooms().set_interest(room_id, node, interested, now) { Ok(()) } else { Err(rooms_full()) }
    }

    async fn publish(&self, message: RoomMessage) -> Result<Published, SharedStateError> {
        let RoomMessage { message, is_retained, .. } = message;
        for _ in 0..RESERVATIONS_MAX {
            let now = Instant::now();
            let published = self.rooms().publish(message.clone(), is_retained, now);
            match published {
                Ok((seq, encoded, mut nodes)) => {
                    let presence = self.presence();
                    nodes.retain(|node| presence.is_valid(node, now));
                    return Ok(Published { seq, after_seq: None, encoded, nodes });
                }
                Err(NoSeq::TooManyRooms) => break,
                Err(NoSeq::NeedsBlock) => {
                    let reserved_until = self.room_seqs.reserve(message.room_id).await?;
                    self.rooms().grant(message.room_id, reserved_until);
                }
            }
        }
        Err(rooms_full())
    }

    async fn retained(&self, room_id: u64, seq: u64) -> Result<Kept, SharedStateError> {
        Ok(Kept { messages: self.rooms().retained(room_id, seq, Instant::now()), newest_seq: 0 })
    }

    /// There is nobody else.
    async fn tell(&self, _what: OutOfDate) -> Result<(), SharedStateError> {
        Ok(())
    }

    async fn told(&self) -> Result<Vec<OutOfDate>, SharedStateError> {
        Ok(Vec::new())
    }

    async fn sweep(&self) -> Result<(), SharedStateError> {
        let now = Instant::now();
        let forgotten = self.presence().sweep(now);
        let unused = {
            let mut rooms = self.rooms();
            for node in forgotten {
                tracing::info!(node = node.name, epoch = node.epoch, "the lease of a conn node is over");
                rooms.forget_node(&node);
            }
            rooms.sweep(now)
        };
        if !unused.is_empty() {
            self.room_seqs.give_back(&unused).await?;
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), SharedStateError> {
        let unused = self.rooms().close();
        Ok(self.room_seqs.give_back(&unused).await?)
    }
}
