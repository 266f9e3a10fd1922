//! Who is where, which node cares for which room, and who holds which lease.
//!
//! [`SharedState`] is the seam: what several logic nodes must agree on. [`local`] keeps it in this process, made of the pure
//! tables [`presence`] and [`rooms`]; [`redis`] keeps it in Redis.

pub mod local;
pub mod presence;
pub mod redis;
pub mod rooms;

use std::sync::Arc;

use bytes::Bytes;
use gim_proto::{connect, logic::ConnectionUser};
use tonic::async_trait;

use crate::{
    domain::{
        locate::NodeInfo,
        out_of_date::OutOfDate,
        route::{NodeKey, Route},
    },
    store::StoreError,
};

/// How often a publication asks for seqs before it gives up. Once is enough unless the room was forgotten in between, or Redis was
/// emptied.
const RESERVATIONS_MAX: usize = 3;

/// What a room takes of the bytes that all rooms may retain, besides its messages, as soon as it retains any.
pub const ROOM_BYTES: usize = 1024;

/// Why the shared state did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SharedStateError {
    /// There are as many rooms as the settings allow.
    #[error("there are too many rooms")]
    RoomsFull,
    /// A block of room seqs could not be reserved.
    #[error("room seqs: {0}")]
    RoomSeqs(#[from] StoreError),
    /// It does not answer; counted or logged where that was noticed.
    #[error("the shared state is away: {0}")]
    Away(String),
    /// It answers what makes no sense.
    #[error("the shared state failed: {0}")]
    Failed(String),
    /// The settings have to be changed; only at start.
    #[error("{0}")]
    Mistaken(String),
    /// Another process has the name of a conn node, and is attached.
    #[error("the conn node name {0} is in use by another process: give each conn node a `node` of its own")]
    NameTaken(String),
    /// The logic nodes of another database use the same keys.
    #[error(
        "the Redis keys that begin with `{prefix}` are in use by the logic nodes of another database: give each deployment \
         a shared_state.key_prefix of its own"
    )]
    OfAnotherDatabase {
        /// What they begin with.
        prefix: String,
    },
    /// Another process is what this one says to be.
    #[error(
        "logic {what} is in use by {holder}: give each logic node a `node` and a `node_number` of its own (one that was killed \
         is forgotten within link.lease_ms)"
    )]
    Taken {
        /// What both need for themselves.
        what: String,
        /// Who has it.
        holder: String,
    },
}

/// A message that a room numbered.
#[derive(Debug)]
pub struct Published {
    /// Its place in the room.
    pub seq: u64,
    /// Where several logic nodes number a room's messages, the newest one before it that another node numbered (0 for none, and
    /// for a message that overtakes). Nothing where this process numbers them alone.
    pub after_seq: Option<u64>,
    /// The encoded `connect.Message`.
    pub encoded: Bytes,
    /// The nodes that have subscribers.
    pub nodes: Vec<Arc<NodeKey>>,
}

/// What became of connections that were put in.
#[derive(Debug, Default)]
pub struct PutRoutes {
    /// Those that lost their device to another one, which may be one of those that were put in.
    pub losers: Vec<Route>,
    /// How many connections the user has who has most of these; some of them may be gone.
    pub of_one_user: usize,
}

/// A message for a room, and how it is treated.
#[derive(Debug, Clone)]
pub struct RoomMessage {
    /// With its room, without a seq.
    pub message: connect::Message,
    /// Whether those who subscribe later may get it.
    pub is_retained: bool,
    /// Whether it overtakes.
    pub is_priority: bool,
}

/// What a room keeps.
#[derive(Debug, Default)]
pub struct Kept {
    /// Encoded, ascending by seq.
    pub messages: Vec<Bytes>,
    /// The newest seq at that moment, where several logic nodes number the room's messages; those that overtake aside.
    pub newest_seq: u64,
}

/// What all logic nodes agree on. Calls are shaped for one round trip each, whatever the number of users in them.
///
/// A route, and a node's interest in a room, is valid only while its node's lease is: while the node is attached, and for the
/// lease time after that. Calls that concern a node process that is no longer the newest of its name change nothing.
#[async_trait]
pub trait SharedState: std::fmt::Debug + Send + Sync + 'static {
    /// A node is attached: its lease holds until it detaches. Another process of the same name is gone with all it had; where it
    /// is attached itself, [`SharedStateError::NameTaken`] and nothing changes.
    async fn attach_node(&self, node: &Arc<NodeKey>) -> Result<(), SharedStateError>;

    /// The stream of a node broke: its lease begins to run out.
    async fn detach_node(&self, node: &Arc<NodeKey>) -> Result<(), SharedStateError>;

    /// Called every now and then, many times per lease: the leases of attached nodes go on. Returns nodes that have to announce
    /// their connections and rooms again, because they were forgotten.
    /// `infos` is what the attached nodes told of themselves.
    async fn renew(&self, infos: Vec<(Arc<NodeKey>, NodeInfo)>) -> Result<Vec<Arc<NodeKey>>, SharedStateError>;

    /// What all nodes told of themselves whose leases hold, wherever they are attached.
    async fn nodes(&self) -> Result<Vec<NodeInfo>, SharedStateError>;

    /// Unix time by the one clock that all logic nodes share, so that sign-ins are in order whatever their own clocks say. Never
    /// goes back.
    fn now_ms(&self) -> i64;

    /// What all logic nodes say that share this state, and no others.
    fn deployment(&self) -> String;

    /// Those of these logic nodes that do not hold their number here: they share something else.
    async fn strangers(&self, numbers: &[u16]) -> Result<Vec<u16>, SharedStateError>;

    /// Puts connections in.
    async fn put_routes(&self, routes: Vec<Route>) -> Result<PutRoutes, SharedStateError>;

    /// Takes a connection out, where it is still the one of its device; whether it was.
    async fn remove_route(&self, route: &Route) -> Result<bool, SharedStateError>;

    /// Takes connections of a node out by their ids alone.
    async fn remove_connections(&self, node: &Arc<NodeKey>, connection_ids: &[u64]) -> Result<(), SharedStateError>;

    /// The live connections of users, in no particular order.
    async fn routes_of(&self, user_ids: &[u64]) -> Result<Vec<Route>, SharedStateError>;

    /// The user who is connected from a device, if somebody is.
    async fn user_of_device(&self, device_id: u64) -> Result<Option<u64>, SharedStateError>;

    /// These connections of a node were heard of: what is known of them is still of use. Returns those of which something was
    /// forgotten.
    async fn touch(
        &self,
        node: &Arc<NodeKey>,
        connections: Vec<ConnectionUser>,
    ) -> Result<Vec<ConnectionUser>, SharedStateError>;

    /// Says whether a node has subscribers of a room.
    async fn set_interest(&self, room_id: u64, node: &Arc<NodeKey>, interested: bool) -> Result<(), SharedStateError>;

    /// Gives a message the next seq of its room, and retains it where asked. Concurrent calls for one room are numbered in
    /// some order; who needs that order kept on the way out holds a lock across the call.
    async fn publish(&self, message: RoomMessage) -> Result<Published, SharedStateError>;

    /// What a room retains after `seq`.
    async fn retained(&self, room_id: u64, seq: u64) -> Result<Kept, SharedStateError>;

    /// Tells all logic nodes that they may remember what holds no more.
    async fn tell(&self, what: OutOfDate) -> Result<(), SharedStateError>;

    /// What was told since the last call; at the first call, and where that is not known, that everything is out of date.
    async fn told(&self) -> Result<Vec<OutOfDate>, SharedStateError>;

    /// Housekeeping, called now and then: forgets what ran out.
    async fn sweep(&self) -> Result<(), SharedStateError>;

    /// Called once, after everything else, at a clean stop.
    async fn close(&self) -> Result<(), SharedStateError>;
}
