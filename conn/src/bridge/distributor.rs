//! The distributor: takes batches from the reactors, keeps count of the rooms of this node, and gives each user's items to
//! the link that the user belongs to. One task.
//!
//! Always holds: an attached link has everything of its users that came before; while it leaves, what comes later is kept back
//! (bounded), and goes to the users' next links in the same order once the leaving one has answered everything. Links that take
//! nothing are waited for once, all together; then requests for them are refused until they do, and the other links' users notice
//! nothing.

use std::{
    future::{self, Future as _},
    hash::BuildHasher as _,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use crossbeam_channel::Receiver;
use foldhash::quality::FixedState;
use gim_config::{ready::AnyPart, traces::Span};
use gim_proto::{
    ResultCode,
    connect::{PacketCommand, SignInRequest, SubscribeRoomRequest},
    logic,
};
use prost::Message as _;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    link_handle::{LinkEvent, LinkHandle, LinkState},
    reactors::{Reactors, UpEnd},
    requests::{Purpose, Request},
    tallies::{PushAllTally, RoomTally},
    uplink::{LinkItem, state},
};
use crate::{
    ids::ConnectionId,
    reactor::{
        command_queue::Command,
        uplink::{UpBatch, UpItem},
    },
    session::Identity,
    settings::LinkSettings,
    wire::packet,
};

/// Rooms in one item that tells how many members they have.
const ROOMS_PER_ITEM: usize = 4096;

/// How long links may take nothing, all of them together, before they are passed over.
const PATIENCE: Duration = Duration::from_millis(500);

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
            UpItem::Heartbeat { connection, identity, age_ms } => {
                let Identity { user_id, device_id } = *identity;
                let (connection_id, age_ms) = (connection.number(), Some(*age_ms));
                let item = logic::ConnectionUser { connection_id, user_id, device_id, age_ms };
                self.tell(user_id, LinkItem::Heartbeat(item));
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
        let SignInRequest { user_id, device_id, token, app_id, .. } = decoded.unwrap_or_default();
        let purpose = Purpose::SignIn(Identity { user_id, device_id });
        let request = begun(connection, command, request_id, purpose);
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
        } else if command == PacketCommand::PcCall as i32 {
            Purpose::Call
        } else {
            Purpose::Reply
        };
        let packet = logic::ClientPacket {
            connection_id: connection.number(),
            user_id,
            device_id,
            command,
            content,
            is_silent: packet::is_silent(command, &request_id),
            ..logic::ClientPacket::default()
        };
        let request = begun(connection, command, request_id, purpose);
        if self.ask(user_id, request, logic::up_item::Item::Packet(packet))
            && let Purpose::Subscribe(room_id) = purpose
            && room_id != 0
        {
            self.rooms.add(room_id);
        }
    }

    /// Gives a request to the user's link. False, and the request is answered, where there is none.
    fn ask(&mut self, user_id: u64, request: Request, item: logic::up_item::Item) -> bool {
        match self.link_of(user_id).filter(|&link| self.links[link].has_room()) {
            Some(link) => {
                self.links[link].push(LinkItem::Request(request, item));
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
            self.links[link].push(item);
        }
    }

    fn tell_all(&mut self, mut make: impl FnMut() -> LinkItem) {
        for link in self.links.iter_mut().filter(|link| link.state == LinkState::Attached) {
            link.push(make());
        }
    }

    /// Rendezvous hashing: the attached link with the highest weight for this user. One that leaves keeps its users until it has
    /// answered them.
    fn link_of(&self, user_id: u64) -> Option<usize> {
        let weight = |link: &LinkHandle| weight(link.hash, user_id);
        let attached = self.links.iter().enumerate().filter(|(_, link)| link.state != LinkState::Detached);
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
        // Answers go the same way as others: through the command queue of the reactor.
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
        self.hand_over_by(Instant::now() + PATIENCE).await;
    }

    /// Gives each link its batch. Who takes it at once does not wait for the others, and these have one deadline together.
    async fn hand_over_by(&mut self, deadline: Instant) {
        for link in self.links.iter_mut().filter(|link| link.is_due()) {
            // Where it does not take it, it is waited for below.
            let _waits = link.try_hand_over().is_err();
        }
        for link in self.links.iter_mut().filter(|link| link.is_due()) {
            let refused = link.hand_over(deadline).await;
            self.refused.extend(refused);
        }
        for request in std::mem::take(&mut self.refused) {
            self.reactors.send(request.connection.reactor(), request.refused(ResultCode::TryAgainLater)).await;
        }
    }

    /// Waits until a link takes something again that was passed over and has something to get.
    async fn a_stuck_link_takes(&self) {
        let stuck = self.links.iter().filter(|link| link.is_waited_for());
        let mut all: Vec<_> = stuck.map(|link| Box::pin(link.takes())).collect();
        future::poll_fn(|context| {
            let takes = all.iter_mut().any(|link| link.as_mut().poll(context).is_ready());
            if takes { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
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
        self.ready.set(self.links.iter().any(|link| link.state != LinkState::Detached));
    }

    async fn on_attached(&mut self, id: u64, node: &str) {
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else { return };
        (link.state, link.is_stuck) = (LinkState::Attached, false);
        link.hash = FixedState::default().hash_one(node);
        let rooms = self.rooms.all();
        let announced = rooms.iter().map(|room| state::announce(logic::announce::What::RoomId(room.room_id)));
        let counted = rooms.chunks(ROOMS_PER_ITEM).map(state::room_members);
        announced.chain(counted).for_each(|item| link.push(item));
        self.hand_over().await;
        self.reactors.send_all(|| Command::Announce).await;
    }

    async fn on_leaving(&mut self, id: u64, stream: u64) {
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else { return };
        link.push(LinkItem::Last(stream));
        self.hand_over().await;
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else { return };
        if link.is_stuck {
            // It would not hear of the last one: its users go without its answers.
            return self.on_detached(id).await;
        }
        link.state = LinkState::Leaving;
    }

    /// Its users belong to other links now: whoever has them shall know of them, and gets what was kept back.
    async fn on_detached(&mut self, id: u64) {
        let Some(link) = self.links.iter_mut().find(|link| link.id == id && link.state != LinkState::Detached) else {
            return;
        };
        link.state = LinkState::Detached;
        for item in link.take_batch() {
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
                    Some(link) => self.links[link].push(LinkItem::Request(request, item)),
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

fn begun(connection: ConnectionId, command: i32, request_id: String, purpose: Purpose) -> Request {
    Request { connection, command, request_id, purpose, taken_at: std::time::Instant::now(), span: Span::default() }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use gim_config::Readiness;

    use super::*;

    /// A distributor of one reactor, and the command queue of that.
    fn distributor() -> (Distributor, Receiver<Command>) {
        let (reactors, mut queues) = Reactors::without_threads(1);
        let ready = Readiness::default().part("link").any_of(1).remove(0);
        (Distributor::new(reactors, ready, &LinkSettings::default()), queues.remove(0))
    }

    /// An attached link that has a request and something else to get, and its queue, which has room for so many batches.
    fn link(room: usize) -> (LinkHandle, mpsc::Receiver<Vec<LinkItem>>) {
        let (sender, queue) = mpsc::channel(1);
        (room..1).for_each(|_| sender.try_send(Vec::new()).unwrap());
        let mut link = LinkHandle::new(0, "0".to_owned(), "logic".to_owned(), sender);
        link.state = LinkState::Attached;
        let (connection, command) = (ConnectionId::new(0, 1, 1), PacketCommand::PcSend as i32);
        let request = begun(connection, command, String::new(), Purpose::Reply);
        link.push(LinkItem::Request(request, logic::up_item::Item::Packet(logic::ClientPacket::default())));
        link.push(LinkItem::Gone(1));
        (link, queue)
    }

    #[test]
    fn links_that_take_nothing_have_one_deadline_and_hold_up_no_other() {
        const STUCK: usize = 10;
        let (mut distributor, commands) = distributor();
        let (links, mut queues): (Vec<_>, Vec<_>) = (0..=STUCK).map(|index| link(index / STUCK)).unzip();
        distributor.links = links;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            {
                let mut waiting = pin!(distributor.hand_over_by(Instant::now() + Duration::from_secs(3600)));
                let polled = future::poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await;
                assert!(polled.is_pending());
            }
            assert_eq!(queues.pop().unwrap().try_recv().unwrap().len(), 2, "it comes last and waits for none of them");
            assert!(commands.is_empty());

            let deadline = Instant::now();
            distributor.hand_over_by(deadline).await;
            assert!(deadline.elapsed() < PATIENCE * STUCK as u32);
            assert_eq!(commands.try_iter().count(), STUCK, "their requests are answered");
            assert_eq!(distributor.links.iter().filter(|link| link.is_waited_for()).count(), STUCK);

            // Whichever of them takes something again gets what logic has to know.
            queues[7].recv().await.unwrap();
            distributor.a_stuck_link_takes().await;
            distributor.hand_over().await;
            assert_eq!(queues[7].try_recv().unwrap().len(), 1);
            assert_eq!(distributor.links.iter().filter(|link| link.is_waited_for()).count(), STUCK - 1);
        });
    }

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
