//! The apps of one reactor. Each has its own command queue and its own way up, its own devices, rooms, groups and pushes to all, so
//! that neither an id nor a flood of one app means anything to another. They share the reactor's thread: where several
//! have work, they take turns, and the budgets of a turn are divided among them.
//!
//! Always holds: a connection is counted by an app from its sign-in on until that is refused or the connection is gone; a
//! command of one app's logic touches connections of that app alone.

use std::sync::Arc;

use crossbeam_channel::Receiver;
use gim_proto::{CloseReason, ResultCode};
use prost::Message as _;

use super::{
    Reactor, command_queue::Command, devices::Devices, fanout::Broadcasts, groups::Groups, peer::Peer, rooms::Rooms,
    uplink::Uplink,
};
use crate::{
    ids::AppIndex,
    metrics::AppMetrics,
    quota::AppQuota,
    settings::{LimitSettings, PushAllSettings},
    wire::{
        encoded::Encoded,
        outbound::Kind,
        packet::{self, PacketView, SignInForReactor},
    },
};

/// Commands that an app gets before the next one's turn.
const COMMANDS_PER_ROUND: usize = 16;

/// What one app is built from.
#[derive(Debug)]
pub struct AppParts {
    /// What clients name in their sign-in.
    pub id: u32,
    /// What its bridge asks of the reactor.
    pub commands: Receiver<Command>,
    /// What the reactor tells its bridge.
    pub uplink: Uplink,
    /// How many connections it may have in all reactors together.
    pub quota: Arc<AppQuota>,
}

/// One app.
#[derive(Debug)]
pub(super) struct App {
    id: u32,
    commands: Receiver<Command>,
    has_commands: bool,
    quota: Arc<AppQuota>,
    pub(super) uplink: Uplink,
    pub(super) devices: Devices,
    pub(super) rooms: Rooms<Encoded>,
    pub(super) groups: Groups,
    pub(super) broadcasts: Broadcasts,
    /// From which slot on live connections are still to be told to the bridge.
    pub(super) announce_from: Option<usize>,
    pub(super) signed_in: usize,
    pub(super) metrics: AppMetrics,
}

/// All apps of a reactor; there is at least one.
#[derive(Debug)]
pub(super) struct Apps {
    list: Vec<App>,
    /// Who comes first in this turn.
    first: usize,
}

/// Why a sign-in does not get as far as logic.
enum SignInRefusal {
    /// It says nothing that could be read.
    Unreadable,
    /// Nobody has that app here.
    Unknown(u32),
    /// The app has as many connections as it may have.
    Full(u32),
    /// The bridge is behind.
    Busy,
}

impl App {
    fn new(parts: AppParts, reactor: usize, limits: &LimitSettings, push_all: &PushAllSettings) -> Self {
        Self {
            metrics: AppMetrics::new(reactor, parts.id),
            id: parts.id,
            commands: parts.commands,
            has_commands: false,
            quota: parts.quota,
            uplink: parts.uplink,
            devices: Devices::default(),
            rooms: Rooms::new(limits.room_backlog_max),
            groups: Groups::new(limits.room_backlog_max),
            broadcasts: Broadcasts::new(push_all),
            announce_from: None,
            signed_in: 0,
        }
    }

    /// One of its connections is gone.
    pub(super) fn give_back(&self) {
        self.quota.give_back();
    }

    fn has_leftovers(&self) -> bool {
        self.has_commands
            || self.rooms.is_active()
            || self.groups.is_active()
            || self.broadcasts.wait_ms() == Some(0)
            || self.announce_from.is_some()
    }
}

impl Apps {
    pub(super) fn new(
        parts: Vec<AppParts>,
        reactor: usize,
        limits: &LimitSettings,
        push_all: &PushAllSettings,
    ) -> Self {
        let list = parts.into_iter().map(|parts| App::new(parts, reactor, limits, push_all));
        Self { list: list.collect(), first: 0 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &App> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut App> {
        self.list.iter_mut()
    }

    /// Another app comes first from now on.
    pub(super) fn rotate(&mut self) {
        self.first = (self.first + 1) % self.list.len();
    }

    /// All of them, in the order of this turn.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.first, self.list.len());
        (0..count).map(move |offset| (first + offset) % count)
    }

    /// Whether an app has something left that epoll would not tell.
    pub(super) fn have_leftovers(&self) -> bool {
        self.list.iter().any(App::has_leftovers)
    }

    /// Whether a bridge has not taken everything yet.
    pub(super) fn are_behind(&self) -> bool {
        self.list.iter().any(|app| app.uplink.is_behind())
    }

    /// When the next push to all goes on, if there is one.
    pub(super) fn broadcast_wait_ms(&self) -> Option<u64> {
        self.list.iter().filter_map(|app| app.broadcasts.wait_ms()).min()
    }

    /// Hands over what there is to tell. True where all of it is gone.
    pub(super) fn flush(&mut self) -> bool {
        // Each is asked, whatever the one before it said.
        self.list.iter_mut().map(|app| app.uplink.flush()).fold(true, |all, gone| all & gone)
    }

    pub(super) fn publish(&self) {
        self.list.iter().for_each(|app| app.metrics.publish(app.signed_in, app.rooms.len()));
    }

    fn of_id(&self, id: u32) -> Option<AppIndex> {
        AppIndex::new(self.list.iter().position(|app| app.id == id)?)
    }
}

impl std::ops::Index<usize> for Apps {
    type Output = App;

    fn index(&self, index: usize) -> &App {
        &self.list[index]
    }
}

impl std::ops::IndexMut<usize> for Apps {
    fn index_mut(&mut self, index: usize) -> &mut App {
        &mut self.list[index]
    }
}

impl Reactor {
    /// Takes commands, the apps by turns, until there is none or a budget is used up: that of commands, or that of messages
    /// which they hand to connections.
    pub(super) fn drain_command_queues(&mut self) {
        self.wake.disarm();
        self.context.apps.rotate();
        self.context.apps.iter_mut().for_each(|app| app.has_commands = true);
        let (mut left, mut deliveries_left) = (self.context.budget.commands, self.context.budget.deliveries);
        while left > 0 && deliveries_left > 0 && self.context.apps.iter().any(|app| app.has_commands) {
            for app in self.context.apps.in_turn() {
                left -= self.take_commands(app, left.min(COMMANDS_PER_ROUND), &mut deliveries_left);
            }
        }
    }

    fn take_commands(&mut self, app: usize, count_max: usize, deliveries_left: &mut usize) -> usize {
        for count in 0..count_max {
            if *deliveries_left == 0 {
                return count;
            }
            match self.context.apps[app].commands.try_recv() {
                Ok(command) => {
                    *deliveries_left = deliveries_left.saturating_sub(command.deliveries());
                    self.on_command(app, command);
                }
                Err(_) => {
                    self.context.apps[app].has_commands = false;
                    return count;
                }
            }
        }
        count_max
    }
}

impl Peer<'_> {
    /// Gives a sign-in to the app that it names.
    pub(super) fn forward_sign_in(&mut self, packet: &PacketView<'_>) {
        let forwarded = self
            .enter_app(packet.content)
            .and_then(|app| if self.push_sign_in(app, packet) { Ok(()) } else { Err(SignInRefusal::Busy) });
        if let Err(refusal) = forwarded {
            self.leave_app();
            self.refuse_sign_in(packet, &refusal);
        } else {
            self.context.unsigned.remove(self.slot);
        }
    }

    fn enter_app(&mut self, content: &[u8]) -> Result<usize, SignInRefusal> {
        let SignInForReactor { app_id: id, heartbeat_s } =
            SignInForReactor::decode(content).map_err(|_| SignInRefusal::Unreadable)?;
        self.connection.heartbeat_s = heartbeat_s.try_into().unwrap_or(u16::MAX);
        let app = self.context.apps.of_id(id).ok_or(SignInRefusal::Unknown(id))?;
        if !self.context.apps[app.get()].quota.take() {
            return Err(SignInRefusal::Full(id));
        }
        self.connection.app = Some(app);
        Ok(app.get())
    }

    /// The connection is with no app any more; it may try another one.
    pub(super) fn leave_app(&mut self) {
        if let Some(app) = self.connection.app.take() {
            self.context.apps[app.get()].give_back();
        }
    }

    fn refuse_sign_in(&mut self, packet: &PacketView<'_>, refusal: &SignInRefusal) {
        self.context.metrics.of_client(self.connection.dialect).refused_packets += 1;
        let (code, sentence) = match refusal {
            SignInRefusal::Unreadable => (ResultCode::BadRequest, ResultCode::BadRequest.text().to_owned()),
            SignInRefusal::Unknown(id) => (ResultCode::BadRequest, format!("app_id: there is no app {id} here")),
            SignInRefusal::Full(id) => {
                let sentence = format!("app {id} has as many connections as it may have");
                self.context.metrics.counts.apps_full += 1;
                return self.close_saying(CloseReason::CrServerOverloaded, &sentence);
            }
            SignInRefusal::Busy => (ResultCode::TryAgainLater, ResultCode::TryAgainLater.text().to_owned()),
        };
        let reply = packet::refusal_saying(packet.request_id, packet.command, code, sentence);
        if let SignInRefusal::Busy = refusal {
            self.context.metrics.of_client(self.connection.dialect).uplink_full += 1;
            self.connection.session.on_forward_failed();
            self.send(reply, Kind::Reply);
        } else {
            self.on_sign_in_refused(reply);
        }
    }
}
