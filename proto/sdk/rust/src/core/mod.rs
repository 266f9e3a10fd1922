//! The client without its sockets, clocks and stores: events come in as calls with the present time in milliseconds, actions go out by
//! [`Core::poll`], and [`Core::deadline_ms`] says when to call [`Core::advance`].
//!
//! Whoever drives it owns it, on one thread. Nothing here waits, panics or grows without a bound, whatever the server sends.

mod backoff;
mod connector;
mod outbox;
mod replies;
mod requests;
mod room;
mod timelines;
mod types;

use std::collections::HashMap;

use bytes::Bytes;
use gim_proto::{
    connect::{Message, Packet, PacketCommand, Reply, SignInRequest},
    logic::MessageAckRequest,
};
use prost::{DecodeError, Message as _};

use self::timelines::Timelines;
use self::{backoff::Backoff, connector::Connector, connector::Phase, outbox::Outbox, requests::Requests, room::Room};
pub use self::{
    outbox::OUTBOX_MAX,
    requests::AppRequest,
    timelines::delivered_id,
    types::{
        About, Action, Answer, CoreSettings, Cursors, EndReason, Event, Located, NEVER, PendingSend, Remembered, Sent,
        StartAt, State, local_code,
    },
};
use crate::wire::{CONTENT_BYTES_MAX, encode_packet, encode_send, has_command};

const ACK_DELAY_MS: u64 = 2000;
/// After the network came back, an answer to the heartbeat that asks whether the connection is alive.
const PROBE_TIMEOUT_MS: u64 = 5000;
/// As long as servers recognise a `client_msg_id`: what is older might be delivered twice.
const OUTBOX_AGE_MAX_MS: u64 = 7 * 24 * 3600 * 1000;

/// What is under way and whose it is.
#[derive(Debug, Clone)]
enum Own {
    SignIn,
    Heartbeat,
    Sync,
    /// Of the room with this id.
    Room(u64),
    /// By its `client_msg_id`.
    Send(String),
    /// The app's.
    Request,
}

#[derive(Debug)]
struct UnderWay {
    own: Own,
    deadline_ms: u64,
}

/// See the [module](self).
pub struct Core {
    user_id: u64,
    device_id: u64,
    app_id: u32,
    answer_timeout_ms: u64,
    actions: Vec<Action>,
    connector: Connector,
    timelines: Timelines,
    outbox: Outbox,
    requests: Requests,
    room: Room,
    under_way: HashMap<String, UnderWay>,
    sync_pause: Backoff,
    next_id: u64,
    is_open: bool,
    heartbeat_at_ms: u64,
    is_syncing: bool,
    sync_at_ms: u64,
    empty_syncs: u32,
    is_catching_up: bool,
    ack_at_ms: u64,
    /// Something was left out that no sync brings: what of a room was, is asked for once the app takes more.
    was_left_out: bool,
    stored: Cursors,
    acknowledged: Cursors,
    delivered: Cursors,
}

impl Core {
    /// A client that is not started.
    pub fn new(settings: CoreSettings, remembered: Remembered, now_ms: u64) -> Self {
        let CoreSettings { user_id, device_id, app_id, url, heartbeat_ms, answer_timeout_ms, start_at, random } =
            settings;
        let Remembered { cursors, outbox, delivered } = remembered;
        let is_fresh = |send: &PendingSend| now_ms.saturating_sub(send.created_at_ms) < OUTBOX_AGE_MAX_MS;
        let (fresh, old): (Vec<_>, Vec<_>) = outbox.into_iter().partition(is_fresh);
        let mut core = Self {
            user_id,
            device_id,
            app_id,
            answer_timeout_ms,
            actions: Vec::new(),
            connector: Connector::new(url, heartbeat_ms, random),
            timelines: Timelines::new(user_id, start_at, cursors.clone(), delivered),
            outbox: Outbox::new(fresh),
            requests: Requests::default(),
            room: Room::new(),
            under_way: HashMap::new(),
            sync_pause: Backoff::new(2000, 30_000),
            next_id: 1,
            is_open: false,
            heartbeat_at_ms: NEVER,
            is_syncing: false,
            sync_at_ms: 0,
            empty_syncs: 0,
            is_catching_up: false,
            ack_at_ms: NEVER,
            was_left_out: false,
            stored: cursors.clone(),
            acknowledged: Cursors::default(),
            delivered: cursors,
        };
        old.into_iter().for_each(|send| core.fail(send, local_code::TIMEOUT, "it waited for more than seven days"));
        core
    }

    /// What is to be done, in this order.
    pub fn poll(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// When to call [`Core::advance`]; [`NEVER`] for never.
    pub fn deadline_ms(&self) -> u64 {
        let is_live = self.connector.is_live();
        let answers = self.under_way.values().map(|one| one.deadline_ms).min().unwrap_or(NEVER);
        let mut deadline_ms = self.connector.phase_deadline_ms().min(self.requests.deadline_ms(is_live)).min(answers);
        if is_live {
            let sync_at_ms = if !self.is_syncing && self.timelines.wants_sync() { self.sync_at_ms } else { NEVER };
            let times =
                [self.heartbeat_at_ms, self.ack_at_ms, self.outbox.deadline_ms(), self.room.retry_at_ms, sync_at_ms];
            deadline_ms = times.into_iter().fold(deadline_ms, u64::min);
        }
        deadline_ms
    }

    /// Connects, and stays connected.
    pub fn start(&mut self, now_ms: u64) {
        if matches!(self.connector.phase(), Phase::Idle | Phase::Ended) {
            self.connect(|connector| connector.attempt(now_ms));
        }
    }

    /// Ends everything that waits, but for sends: these stay in the store.
    pub fn stop(&mut self) {
        self.disconnect();
        self.ask_of(Requests::stop);
        self.connect(Connector::stop);
    }

    /// The network came back.
    pub fn nudge(&mut self, now_ms: u64) {
        self.connect(|connector| connector.nudge(now_ms));
        if self.connector.is_live() {
            self.heartbeat(now_ms, PROBE_TIMEOUT_MS.min(self.answer_timeout_ms));
        }
    }

    /// What [`Action::GetToken`] asked for; none where there is none.
    pub fn on_token(&mut self, token: Option<String>, now_ms: u64) {
        let (is_none, room_id, is_open) = (token.is_none(), self.room.room_id(), self.is_open);
        match self.connect(|connector| connector.on_token(token, room_id, now_ms, is_open)) {
            Some(token) => self.sign_in(token, now_ms),
            None if is_none => self.disconnected(),
            None => {}
        }
    }

    /// What [`Action::Locate`] asked for.
    pub fn on_located(&mut self, located: Located, now_ms: u64) {
        self.connect(|connector| connector.on_located(located, now_ms));
    }

    /// The token ([`About::Token`]) or the addresses ([`About::Locate`]) could not be had.
    pub fn on_failed(&mut self, about: About, message: &str, now_ms: u64) {
        let phase = if about == About::Token { Phase::Token } else { Phase::Locate };
        if self.connector.phase() == phase {
            self.error(about, message);
            self.break_off(now_ms);
        }
    }

    /// The connection is open.
    pub fn on_opened(&mut self, now_ms: u64) {
        if let Some(token) = self.connect(Connector::on_opened) {
            self.is_open = true;
            self.sign_in(token, now_ms);
        }
    }

    /// The connection ended, or could not be opened.
    pub fn on_closed(&mut self, now_ms: u64) {
        self.disconnected();
        self.connect(|connector| connector.on_failed(now_ms));
    }

    /// The server sent a packet.
    pub fn on_bytes(&mut self, bytes: Bytes, now_ms: u64) {
        if !self.is_open {
            return;
        }
        if Packet::decode(bytes).and_then(|packet| self.on_packet(packet, now_ms)).is_err() {
            self.on_garbage(now_ms);
        }
        self.pump(now_ms);
    }

    /// The server sent what is no packet, and not even a frame.
    pub fn on_garbage(&mut self, now_ms: u64) {
        if self.is_open {
            self.error(About::Packet, "the server sent what is no packet");
            self.break_off(now_ms);
        }
    }

    /// What [`Action::Deliver`] gave is stored and shown.
    pub fn on_stored(&mut self, cursors: Cursors, now_ms: u64) {
        self.stored = cursors;
        if self.ack_at_ms == NEVER && self.has_to_acknowledge() {
            self.ack_at_ms = now_ms + ACK_DELAY_MS;
        }
    }

    /// Whether the app takes no more messages for now. What comes meanwhile is left out, and synced afterwards; messages of rooms are only as
    /// far as these retain them.
    pub fn set_behind(&mut self, is_behind: bool, now_ms: u64) {
        self.timelines.set_behind(is_behind);
        if !is_behind {
            let was_left_out = std::mem::take(&mut self.was_left_out) && self.connector.is_live();
            if was_left_out {
                // What no sync brings may have been among it: the app is told when it has all else.
                self.is_catching_up = true;
                self.timelines.hint();
            }
            if was_left_out && self.room.room_id() != 0 {
                self.subscribe(now_ms);
            }
            self.pump(now_ms);
        }
    }

    /// Sends a message, until it is answered.
    pub fn send(&mut self, send: PendingSend, now_ms: u64) {
        if self.outbox.has(&send.client_msg_id) {
            return;
        }
        if send.content.len() > CONTENT_BYTES_MAX {
            let message = format!("the content has more than {CONTENT_BYTES_MAX} bytes");
            return self.fail(send, local_code::TOO_LARGE, &message);
        }
        if self.outbox.is_full() {
            return self.fail(send, local_code::TOO_MANY_WAITING, "too many messages wait to be sent");
        }
        self.actions.push(Action::RememberSend(send.clone()));
        self.outbox.add(send);
        self.pump(now_ms);
    }

    /// Asks for an answer, by [`Action::Answer`].
    pub fn request(&mut self, request: AppRequest, now_ms: u64) {
        self.ask_of(|requests| requests.add(request));
        self.pump(now_ms);
    }

    /// Nobody waits for the answer any more.
    pub fn cancel(&mut self, request_id: &str) {
        self.requests.cancel(request_id);
    }

    /// 0 leaves. `from_start` asks for all that the room retains.
    pub fn enter_room(&mut self, room_id: u64, from_start: bool, now_ms: u64) {
        self.room.enter(room_id, from_start);
        if self.connector.is_live() {
            self.subscribe(now_ms);
        }
    }

    /// Does what is due.
    pub fn advance(&mut self, now_ms: u64) {
        if self.connector.phase_deadline_ms() <= now_ms {
            match self.connector.phase() {
                Phase::Waiting => self.connect(|connector| connector.attempt(now_ms)),
                Phase::Token => self.on_failed(About::Token, "it took too long", now_ms),
                Phase::Locate => self.on_failed(About::Locate, "it took too long", now_ms),
                _ => self.break_off(now_ms),
            }
        }
        if self.under_way.values().any(|one| one.deadline_ms <= now_ms) {
            self.error(About::Answer, "no answer came in time: the connection is dead");
            self.break_off(now_ms);
        }
        self.ask_of(|requests| requests.advance(now_ms));
        if !self.connector.is_live() {
            return;
        }
        if self.heartbeat_at_ms <= now_ms {
            self.heartbeat(now_ms, self.answer_timeout_ms);
        }
        if self.ack_at_ms <= now_ms {
            self.acknowledge();
        }
        if self.room.retry_at_ms <= now_ms {
            self.subscribe(now_ms);
        }
        self.pump(now_ms);
    }

    fn sign_in(&mut self, token: String, now_ms: u64) {
        let heartbeat_s = u32::try_from(self.connector.heartbeat_ms().div_ceil(1000).max(1)).unwrap_or(u32::MAX);
        let (user_id, device_id, app_id) = (self.user_id, self.device_id, self.app_id);
        let content = SignInRequest { user_id, device_id, token, app_id, heartbeat_s }.encode_to_vec();
        self.ask(PacketCommand::PcSignIn, Own::SignIn, content.into(), now_ms + self.answer_timeout_ms);
    }

    fn heartbeat(&mut self, now_ms: u64, timeout_ms: u64) {
        self.heartbeat_at_ms = now_ms + self.connector.heartbeat_ms();
        self.ask(PacketCommand::PcHeartbeat, Own::Heartbeat, Bytes::new(), now_ms + timeout_ms);
    }

    fn subscribe(&mut self, now_ms: u64) {
        self.room.retry_at_ms = NEVER;
        let content = self.room.request().encode_to_vec();
        self.ask(
            PacketCommand::PcSubscribeRoom,
            Own::Room(self.room.room_id()),
            content.into(),
            now_ms + self.answer_timeout_ms,
        );
    }

    /// Sends what may go out now.
    fn pump(&mut self, now_ms: u64) {
        self.deliver();
        if !self.connector.is_live() {
            return;
        }
        let deadline_ms = now_ms + self.answer_timeout_ms;
        if !self.is_syncing && self.timelines.wants_sync() && self.sync_at_ms <= now_ms {
            self.is_syncing = true;
            let content = self.timelines.begin_sync().encode_to_vec();
            self.ask(PacketCommand::PcSync, Own::Sync, content.into(), deadline_ms);
        }
        for send in self.outbox.take_ready(now_ms) {
            let content = encode_send(send.target, send.command, send.content, &send.client_msg_id);
            self.ask(PacketCommand::PcSend, Own::Send(send.client_msg_id), content, deadline_ms);
        }
        for request in self.requests.take_ready(now_ms) {
            let AppRequest { request_id, command, content, .. } = request;
            self.actions.push(Action::Packet(encode_packet(command, &request_id, content)));
            self.under_way.insert(request_id, UnderWay { own: Own::Request, deadline_ms });
        }
    }

    fn ask(&mut self, command: PacketCommand, own: Own, content: Bytes, deadline_ms: u64) {
        let request_id = format!("client-{}", self.next_id);
        self.next_id += 1;
        self.actions.push(Action::Packet(encode_packet(command as i32, &request_id, content)));
        self.under_way.insert(request_id, UnderWay { own, deadline_ms });
    }

    fn on_packet(&mut self, packet: Packet, now_ms: u64) -> Result<(), DecodeError> {
        if has_command(&packet, PacketCommand::PcMessage) {
            self.was_left_out |= self.timelines.push(&Message::decode(packet.content)?);
            return Ok(());
        }
        if has_command(&packet, PacketCommand::PcSyncHint) {
            self.timelines.saw_newest(packet.seq);
            self.timelines.hint();
            return Ok(());
        }
        if has_command(&packet, PacketCommand::PcClose) {
            return self.on_close_notice(packet.content, now_ms);
        }
        let Some(UnderWay { own, .. }) = self.under_way.remove(&packet.request_id) else { return Ok(()) };
        if matches!(own, Own::Heartbeat) {
            self.timelines.saw_newest(packet.seq);
            return Ok(());
        }
        self.on_reply(&packet.request_id, own, Reply::decode(packet.content)?, now_ms)
    }

    fn has_to_acknowledge(&self) -> bool {
        self.stored.inbox.unwrap_or(0) > self.acknowledged.inbox.unwrap_or(0)
            || self.stored.groups.iter().any(|(&group_id, &seq)| self.is_group_ahead(group_id, seq))
    }

    fn is_group_ahead(&self, group_id: u64, seq: u64) -> bool {
        seq > self.acknowledged.groups.get(&group_id).copied().unwrap_or(0)
    }

    fn acknowledge(&mut self) {
        self.ack_at_ms = NEVER;
        let groups = self.stored.groups.iter().map(|(&group_id, &seq)| (group_id, seq));
        let ahead = groups.filter(|&(group_id, seq)| self.is_group_ahead(group_id, seq));
        let group_acks = ahead.map(|(group_id, seq)| gim_proto::logic::GroupCursor { group_id, seq }).collect();
        let request = MessageAckRequest { device_ack: self.stored.inbox.unwrap_or(0), group_acks };
        let packet = encode_packet(PacketCommand::PcMessageAck as i32, "", request.encode_to_vec().into());
        self.actions.push(Action::Packet(packet));
        self.acknowledged.clone_from(&self.stored);
    }

    fn deliver(&mut self) {
        for event in std::mem::take(&mut self.timelines.events) {
            self.event(event);
        }
        let mut messages = std::mem::take(&mut self.timelines.taken);
        messages.retain(|message| message.room_seq == 0 || self.room.is_new(message));
        if messages.is_empty() && *self.timelines.cursors() == self.delivered {
            return;
        }
        let cursors = self.timelines.cursors().clone();
        self.delivered.clone_from(&cursors);
        self.actions.push(Action::Deliver { messages, cursors });
    }

    fn break_off(&mut self, now_ms: u64) {
        self.disconnect();
        self.connect(|connector| connector.on_failed(now_ms));
    }

    fn disconnect(&mut self) {
        if self.is_open || self.connector.phase() == Phase::Opening {
            self.actions.push(Action::Disconnect);
        }
        self.disconnected();
    }

    fn disconnected(&mut self) {
        self.is_open = false;
        self.is_syncing = false;
        self.ack_at_ms = NEVER;
        self.under_way.clear();
        self.outbox.disconnected();
        self.ask_of(Requests::disconnected);
    }

    fn fail(&mut self, send: PendingSend, code: i32, message: &str) {
        let PendingSend { client_msg_id, target, .. } = send;
        let message = message.to_owned();
        self.event(Event::Failed { client_msg_id: client_msg_id.clone(), target, code, message });
        self.actions.push(Action::ForgetSend { client_msg_id });
    }

    fn error(&mut self, about: About, message: &str) {
        self.event(Event::Error { about, message: message.to_owned() });
    }

    fn event(&mut self, event: Event) {
        self.actions.push(Action::Event(event));
    }

    /// What the connector wants done comes right behind what was wanted before.
    fn connect<T>(&mut self, act: impl FnOnce(&mut Connector) -> T) -> T {
        let done = act(&mut self.connector);
        self.actions.append(&mut self.connector.actions);
        done
    }

    fn ask_of<T>(&mut self, act: impl FnOnce(&mut Requests) -> T) -> T {
        let done = act(&mut self.requests);
        let answers = self.requests.answers.drain(..);
        self.actions.extend(answers.map(|(request_id, answer)| Action::Answer { request_id, answer }));
        done
    }
}
