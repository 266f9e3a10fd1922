//! The distributor: takes batches from the reactors, keeps count of the rooms of this node, and gives each user's items to
//! the link that the user belongs to. One task.
//!
//! Always holds: an attached link has everything of its users that came before; while it leaves, what comes later is kept back
//! (bounded), and goes to the users' next links in the same order once the leaving one has answered everything. A link that takes
//! nothing is waited for once; then requests for it are refused until it does, and the other links' users notice nothing.

use std::{future, hash::BuildHasher as _, time::Duration};

use bytes::Bytes;
use crossbeam_channel::Receiver;
use foldhash::quality::FixedState;
use gim_config::ready::AnyPart;
use gim_proto::{
    ResultCode,
    connect::{PacketCommand, SignInRequest, SubscribeRoomRequest},
    logic,
};
use metrics::counter;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    UpEnd,
    link::LinkEvent,
    pending::{Purpose, Request},
    reactors::Reactors,
    tallies::{PushAllTally, RoomTally},
    uplink::{LinkItem, state},
};
use crate::{
    ids::ConnectionId,
    metrics as names,
    reactor::{
        inbox::Command,
        uplink::{UpBatch, UpItem},
    },
    session::Identity,
    settings::LinkSettings,
};

/// Bytes of packets in one message to logic: far below what logic takes, whatever the largest frames are.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Rooms in one item that tells how many members they have.
const ROOMS_PER_ITEM: usize = 4096;

/// Items of users who are about to move that are kept back; requests beyond are answered "try again later". Of a link that takes
/// nothing, what logic has to know; beyond, the link is waited for after all.
const HELD_ITEMS_MAX: usize = 65_536;

/// How long a link may take nothing before it is passed over.
const PATIENCE: Duration = Duration::from_millis(500);

/// A link, as the distributor sees it.
#[derive(Debug)]
pub(super) struct LinkHandle {
    id: u64,
    /// Whose link it is and where to: labels of metrics.
    app_id: String,
    name: String,
    /// Of the logic node's name: the same for all conn nodes, so that all choose the same logic node for a user.
    hash: u64,
    queue: mpsc::Sender<Vec<LinkItem>>,
    state: State,
    /// Whether it took nothing when it was waited for.
    is_stuck: bool,
    /// What it gets next; of a leaving one, what is kept back.
    batch: Vec<LinkItem>,
    batch_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Detached,
    Attached,
    /// Its last items are under way.
    Leaving,
}

/// See the module's documentation.
pub(super) struct Distributor {
    links: Vec<LinkHandle>,
    reactors: Reactors,
    ready: AnyPart,
    batch_items_max: usize,
    room_members_interval: Duration,
    rooms: RoomTally,
    pushes_to_all: PushAllTally,
    /// Answers that are due now, because no link can take the request.
    refused: Vec<Request>,
}

impl LinkHandle {
    pub(super) fn new(id: u64, app_id: String, name: String, queue: mpsc::Sender<Vec<LinkItem>>) -> Self {
        let (state, batch) = (State::Detached, Vec::new());
        Self { id, app_id, name, hash: 0, queue, state, is_stuck: false, batch, batch_bytes: 0 }
    }

    fn is_full(&self, items_max: usize) -> bool {
        let is_full = self.batch.len() >= items_max || self.batch_bytes >= BATCH_BYTES_MAX;
        is_full && self.state == State::Attached && !self.is_stuck
    }

    /// Gives it its batch. Where it takes nothing, what logic has to know stays, and the requests are returned to be refused.
    async fn hand_over(&mut self) -> Vec<Request> {
        let is_passed_over = self.is_stuck && self.batch.len() < HELD_ITEMS_MAX;
        let patience = if is_passed_over { Duration::ZERO } else { PATIENCE };
        let place = tokio::time::timeout(patience, self.queue.reserve()).await;
        let was_stuck = std::mem::replace(&mut self.is_stuck, place.is_err());
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if let Ok(Ok(place)) = place {
            place.send(batch);
            return Vec::new();
        }
        let (requests, known): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|item| matches!(item, LinkItem::Request(..)));
        if self.is_stuck {
            if !was_stuck {
                tracing::warn!(
                    logic = self.name,
                    "a logic node takes nothing; requests for it are put off until it does"
                );
            }
            counter!(names::REQUESTS_BEYOND, "app" => self.app_id.clone(), "logic" => self.name.clone())
                .increment(requests.len() as u64);
            self.batch = known;
        }
        requests.into_iter().filter_map(LinkItem::into_request).collect()
    }
}

impl Distributor {
    pub(super) fn new(reactors: Reactors, ready: AnyPart, settings: &LinkSettings) -> Self {
        Self {
            links: Vec::new(),
            reactors,
            ready,
            batch_items_max: settings.batch_items_max,
            room_members_interval: Duration::from_millis(settings.room_members_interval_ms),
            rooms: RoomTally::default(),
            pushes_to_all: PushAllTally::default(),
            refused: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, up: UpEnd, mut events: mpsc::Receiver<LinkEvent>, stop: CancellationToken) {
        let UpEnd { batches, notify } = up;
        let mut room_members = tokio::time::interval(self.room_members_interval);
        room_members.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = notify.notified() => self.distribute(&batches).await,
                Some(event) = events.recv() => self.on_link_event(event).await,
                _ = room_members.tick(), if self.rooms.has_changed() => self.tell_room_members().await,
                () = self.a_stuck_link_takes() => self.hand_over().await,
                // The reactors have ended: what they said last is all there is.
                () = stop.cancelled() => return self.distribute(&batches).await,
            }
        }
    }

    async fn distribute(&mut self, batches: &Receiver<UpBatch>) {
        while let Ok(batch) = batches.try_recv() {
            for item in &batch.items {
                self.on_item(&batch, item);
                if self.links.iter().any(|link| link.is_full(self.batch_items_max)) {
                    self.hand_over().await;
                }
            }
            self.hand_over().await;
        }
    }

    fn on_item(&mut self, batch: &UpBatch, item: &UpItem) {
        match item {
            UpItem::SignIn { connection, peer, request_id, content } => {
                let client_addr = peer.map(|peer| peer.to_string()).unwrap_or_default();
                self.on_sign_in(*connection, client_addr, text(&batch.slice(*request_id)), batch.slice(*content));
            }
            UpItem::Packet { connection, identity, command, request_id, content } => {
                let (request_id, content) = (text(&batch.slice(*request_id)), batch.slice(*content));
                self.on_packet(*connection, *identity, *command, request_id, content);
            }
            UpItem::SignOut { connection, identity } => {
                let Identity { user_id, device_id } = *identity;
                let connection_id = connection.number();
                self.tell(user_id, state::sign_out(logic::SignOut { connection_id, user_id, device_id }));
            }
            UpItem::RoomJoined(room_id) => self.room_joined(*room_id),
            UpItem::RoomLeft(room_id) => self.room_left(*room_id),
            UpItem::Heartbeat { connection, user_id } => {
                let item = logic::ConnectionUser { connection_id: connection.number(), user_id: *user_id };
                self.tell(*user_id, LinkItem::Heartbeat(item));
            }
            UpItem::Live { connection, identity, since_ms, age_ms, large_group_ids } => {
                let Identity { user_id, device_id } = *identity;
                let connection_id = connection.number();
                let live = logic::LiveConnection {
                    connection_id,
                    user_id,
                    device_id,
                    since_ms: *since_ms,
                    large_group_ids: large_group_ids.to_vec(),
                    age_ms: Some(*age_ms),
                };
                self.tell(user_id, state::announce(logic::announce::What::Connection(live)));
            }
            UpItem::PushAllDone(message_id) => {
                if self.pushes_to_all.is_done(*message_id, self.reactors.count()) {
                    self.tell_all(|| state::push_all_done(*message_id));
                }
            }
            UpItem::Gone(connection) => self.tell_all(|| LinkItem::Gone(connection.number())),
        }
    }

    fn on_sign_in(&mut self, connection: ConnectionId, client_addr: String, request_id: String, content: Bytes) {
        let command = PacketCommand::PcSignIn as i32;
        let decoded = SignInRequest::decode(content);
        let is_readable = decoded.is_ok();
        let SignInRequest { user_id, device_id, token, app_id } = decoded.unwrap_or_default();
        let purpose = Purpose::SignIn(Identity { user_id, device_id });
        let request = Request { connection, command, request_id, purpose };
        if !is_readable {
            self.refused_with(request, ResultCode::BadRequest);
            return;
        }
        let sign_in = logic::SignIn {
            connection_id: connection.number(),
            user_id,
            device_id,
            token,
            app_id,
            client_addr,
            ..logic::SignIn::default()
        };
        self.ask(user_id, request, logic::up_item::Item::SignIn(sign_in));
    }

    fn on_packet(
        &mut self,
        connection: ConnectionId,
        identity: Identity,
        command: i32,
        request_id: String,
        content: Bytes,
    ) {
        let Identity { user_id, device_id } = identity;
        let purpose = if command == PacketCommand::PcSubscribeRoom as i32 {
            // What cannot be read is counted for no room; logic refuses it.
            let room_id = SubscribeRoomRequest::decode(content.clone()).map_or(0, |request| request.room_id);
            Purpose::Subscribe(room_id)
        } else {
            Purpose::Reply
        };
        let packet = logic::ClientPacket {
            connection_id: connection.number(),
            user_id,
            device_id,
            command,
            content,
            ..logic::ClientPacket::default()
        };
        let request = Request { connection, command, request_id, purpose };
        if self.ask(user_id, request, logic::up_item::Item::Packet(packet))
            && let Purpose::Subscribe(room_id) = purpose
            && room_id != 0
        {
            self.rooms.add(room_id);
        }
    }

    /// Gives a request to the user's link. False, and the request is answered, where there is none.
    fn ask(&mut self, user_id: u64, request: Request, item: logic::up_item::Item) -> bool {
        let bytes = item.encoded_len();
        let has_room = |link: &LinkHandle| link.state == State::Attached || link.batch.len() < HELD_ITEMS_MAX;
        match self.link_of(user_id).filter(|&link| has_room(&self.links[link])) {
            Some(link) => {
                self.links[link].batch_bytes += bytes;
                self.links[link].batch.push(LinkItem::Request(request, item));
                true
            }
            None => {
                // Nothing was counted for it, so nothing is released either.
                let purpose =
                    if matches!(request.purpose, Purpose::Subscribe(_)) { Purpose::Reply } else { request.purpose };
                self.refused.push(Request { purpose, ..request });
                false
            }
        }
    }

    fn tell(&mut self, user_id: u64, item: LinkItem) {
        if let Some(link) = self.link_of(user_id) {
            self.links[link].batch.push(item);
        }
    }

    fn tell_all(&mut self, mut make: impl FnMut() -> LinkItem) {
        for link in self.links.iter_mut().filter(|link| link.state == State::Attached) {
            link.batch.push(make());
        }
    }

    /// Rendezvous hashing: the attached link with the highest weight for this user. One that leaves keeps its users until it has
    /// answered them.
    fn link_of(&self, user_id: u64) -> Option<usize> {
        let weight = |link: &LinkHandle| weight(link.hash, user_id);
        let attached = self.links.iter().enumerate().filter(|(_, link)| link.state != State::Detached);
        attached.max_by_key(|(_, link)| weight(link)).map(|(index, _)| index)
    }

    fn room_joined(&mut self, room_id: u64) {
        if self.rooms.add(room_id) {
            self.tell_all(|| state::announce(logic::announce::What::RoomId(room_id)));
        }
    }

    fn room_left(&mut self, room_id: u64) {
        if self.rooms.remove(room_id) {
            self.tell_all(|| state::room_release(logic::RoomRelease { room_id }));
        }
    }

    fn refused_with(&mut self, request: Request, code: ResultCode) {
        // Answers go the same way as others: through the reactor's inbox.
        let reactors = self.reactors.clone();
        let reactor = request.connection.reactor();
        let command = request.refused(code);
        tokio::spawn(async move { reactors.send(reactor, command).await });
    }

    async fn tell_room_members(&mut self) {
        let changed = self.rooms.take_changed();
        for rooms in changed.chunks(ROOMS_PER_ITEM) {
            self.tell_all(|| state::room_members(rooms));
        }
        self.hand_over().await;
    }

    async fn hand_over(&mut self) {
        for link in self.links.iter_mut().filter(|link| link.state == State::Attached && !link.batch.is_empty()) {
            let refused = link.hand_over().await;
            self.refused.extend(refused);
        }
        for request in std::mem::take(&mut self.refused) {
            self.reactors.send(request.connection.reactor(), request.refused(ResultCode::TryAgainLater)).await;
        }
    }

    /// Waits until a link takes something again that was passed over and has something to get.
    async fn a_stuck_link_takes(&self) {
        let is_waiting = |link: &&LinkHandle| link.is_stuck && link.state == State::Attached && !link.batch.is_empty();
        match self.links.iter().find(is_waiting) {
            Some(link) => drop(link.queue.reserve().await),
            None => future::pending().await,
        }
    }

    async fn on_link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Added(link) => self.links.push(link),
            LinkEvent::Attached { id, node } => self.on_attached(id, &node).await,
            LinkEvent::Leaving { id, stream } => self.on_leaving(id, stream).await,
            LinkEvent::Left(id) | LinkEvent::Detached(id) => self.on_detached(id).await,
            LinkEvent::Lost(sign_outs) => self.tell_again(sign_outs).await,
            LinkEvent::Removed(id) => self.links.retain(|link| link.id != id),
        }
        self.ready.set(self.links.iter().any(|link| link.state != State::Detached));
    }

    async fn on_attached(&mut self, id: u64, node: &str) {
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else { return };
        (link.state, link.is_stuck) = (State::Attached, false);
        link.hash = FixedState::default().hash_one(node);
        let rooms = self.rooms.all();
        let announced = rooms.iter().map(|room| state::announce(logic::announce::What::RoomId(room.room_id)));
        let counted = rooms.chunks(ROOMS_PER_ITEM).map(state::room_members);
        link.batch.extend(announced.chain(counted));
        self.hand_over().await;
        self.reactors.send_all(|| Command::Announce).await;
    }

    async fn on_leaving(&mut self, id: u64, stream: u64) {
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else { return };
        link.batch.push(LinkItem::Last(stream));
        self.hand_over().await;
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else { return };
        if link.is_stuck {
            // It would not hear of the last one: its users go without its answers.
            return self.on_detached(id).await;
        }
        link.state = State::Leaving;
    }

    /// Its users belong to other links now: whoever has them shall know of them, and gets what was kept back.
    async fn on_detached(&mut self, id: u64) {
        let Some(link) = self.links.iter_mut().find(|link| link.id == id && link.state != State::Detached) else {
            return;
        };
        link.state = State::Detached;
        link.batch_bytes = 0;
        for item in std::mem::take(&mut link.batch) {
            self.move_item(item);
        }
        self.hand_over().await;
        self.reactors.send_all(|| Command::Announce).await;
    }

    async fn tell_again(&mut self, sign_outs: Vec<logic::SignOut>) {
        for sign_out in sign_outs {
            self.tell(sign_out.user_id, state::sign_out(sign_out));
        }
        self.hand_over().await;
    }

    fn move_item(&mut self, item: LinkItem) {
        match item {
            LinkItem::Request(request, item) => {
                match LinkItem::user_of(&item).and_then(|user_id| self.link_of(user_id)) {
                    Some(link) => {
                        self.links[link].batch_bytes += item.encoded_len();
                        self.links[link].batch.push(LinkItem::Request(request, item));
                    }
                    // Unlike in `ask`, its room was counted: the refusal releases it.
                    None => self.refused.push(request),
                }
            }
            item => {
                if let Some(user_id) = item.user_id() {
                    self.tell(user_id, item);
                }
            }
        }
    }
}

/// How much a user belongs to a logic node. Not the fast hash: it gives some nodes nearly nobody.
fn weight(node_hash: u64, user_id: u64) -> u64 {
    FixedState::with_seed(node_hash).hash_one(user_id)
}

fn text(bytes: &Bytes) -> String {
    // The packet's decoder took it for UTF-8 already.
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_logic_node_gets_its_share_of_the_users_whatever_the_names() {
        for names in 0..200 {
            let hashes = [0, 1, 2].map(|index| FixedState::default().hash_one(format!("logic-{}", names * 3 + index)));
            let mut users = [0; 3];
            for user_id in 1..=3_000 {
                let chosen = (0..3).max_by_key(|&index| weight(hashes[index], user_id)).unwrap();
                users[chosen] += 1;
            }
            assert!(users.iter().all(|count| (840..=1160).contains(count)), "{names}: {users:?}");
        }
    }
}
