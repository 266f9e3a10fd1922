//! The one user who asks for as much as fits, over many devices. They are a swarm on a thread of its own, so that the clients
//! whose time is taken wait for nothing of theirs; the calls of gRPC run on the runtime of the target.
//!
//! Always holds: while it is quiet, nothing that it asked for is under way, except what was not answered within the deadline.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, ensure};
use clap::ValueEnum;
use gim_proto::{
    connect::{
        CallRequest, MessageCommand, Packet as Envelope, PacketCommand, SendRequest, send_request::Target as SendTarget,
    },
    logic::{HistoryRequest, SyncRequest, history_request::Peer, message_ext_service_client::MessageExtServiceClient},
    metadata,
};
use prost::Message as _;
use tokio::{sync::watch, task::JoinSet};

use super::{Arguments, flood};
use crate::{
    counts::Counts,
    load::{CONNECTS_IN_FLIGHT, Run},
    part::Part,
    scenario::{group, sync::backlog},
    swarm::{Behaviour, Closed, Connection, DEADLINE, Packet, Swarm, packet::Reply, transport::ServerEndpoint},
    users::User,
};

const SEND: i32 = PacketCommand::PcSend as i32;
const SYNC: i32 = PacketCommand::PcSync as i32;
const CALL: i32 = PacketCommand::PcCall as i32;

/// Calls that a connection may have under way; more are refused without being looked at.
const CALLS_UNDER_WAY: u32 = 8;

/// Messages that wait in the inbox of the one user, so that reading it is work.
const BACKLOG: u32 = 500;

/// Bytes of each.
const BACKLOG_BYTES: u32 = 1000;

/// Devices that come back in one turn after the server closed their connection.
const REOPENED_PER_TURN: usize = 2;

/// What the one user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Aggression {
    /// Sends to a large group
    Groups,
    /// Reads of the inbox from its beginning
    Reads,
    /// Calls of gRPC
    Calls,
    /// Calls over the long connections (PC_CALL)
    ConnectionCalls,
    /// Calls in JSON at a fixed rate
    Flood,
    /// The same by somebody at this address who is nobody yet
    StrangersFlood,
    /// Sends to oneself, whose copies most of the devices do not read
    Connections,
    /// All of that of the one user at once, but for the floods
    All,
}

impl fmt::Display for Aggression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Quiet,
    On,
    Over,
}

/// What is counted on both sides, by the threads of the aggressor.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Since it was last taken.
    answered: AtomicU64,
    refused: AtomicU64,
    closed: AtomicU64,
    /// Of the connections, and of gRPC.
    under_way: [AtomicU64; 2],
}

impl Tally {
    /// A call of gRPC or JSON.
    pub(super) fn begin_call(&self) {
        self.under_way[1].fetch_add(1, Relaxed);
    }

    pub(super) fn end_call(&self, is_refused: bool) {
        self.under_way[1].fetch_sub(1, Relaxed);
        self.answer(is_refused);
    }

    fn answer(&self, is_refused: bool) {
        self.answered.fetch_add(1, Relaxed);
        self.refused.fetch_add(is_refused.into(), Relaxed);
    }

    fn under_way(&self) -> u64 {
        self.under_way.iter().map(|count| count.load(Relaxed)).sum()
    }
}

/// The one user.
pub struct Aggressor {
    phase: watch::Sender<Phase>,
    tally: Arc<Tally>,
    thread: JoinHandle<anyhow::Result<()>>,
    calls: JoinSet<()>,
    runtime: tokio::runtime::Handle,
}

impl Aggressor {
    /// Signs up the user and the group, and connects all devices; quiet at first.
    pub fn start(run: &Run<'_>, arguments: &Arguments) -> anyhow::Result<Self> {
        let kind = arguments.aggression;
        let devices = run.sign_up_devices(arguments.connections as usize)?;
        let user = devices.first().context("the one user has no device")?.clone();
        let mut members = vec![user.clone()];
        if matches!(kind, Aggression::Groups | Aggression::All) {
            members.extend(run.sign_up(arguments.members as usize - 1)?);
        }
        let group_id = group::create(&run.target, &members)?;
        if matches!(kind, Aggression::Reads | Aggression::Calls | Aggression::ConnectionCalls | Aggression::All) {
            backlog::push(&run.target, std::slice::from_ref(&user), BACKLOG, BACKLOG_BYTES)?;
        }
        let (phase, tally) = (watch::Sender::new(Phase::Quiet), Arc::new(Tally::default()));
        let crowd = Crowd {
            devices: devices.iter().enumerate().map(|(number, _)| Device::new(kind, number)).collect(),
            greetings: devices.into_iter().map(|device| device.greeting).collect(),
            endpoints: run.target.endpoints().to_vec(),
            user_id: user.id,
            group_id,
            under_way_max: arguments.under_way,
            phase: phase.subscribe(),
            was: Phase::Quiet,
            tally: tally.clone(),
            lost: Vec::new(),
        };
        let (connected, is_connected) = mpsc::channel();
        let (part, in_flight) = (run.part(), run.in_flight(CONNECTS_IN_FLIGHT));
        let thread = thread::Builder::new().name("aggressor".into());
        let thread = thread.spawn(move || crowd.go_on(part, in_flight, &connected)).context("cannot start a thread")?;
        let calls = calls(run, arguments, &user, &phase, &tally)?;
        let aggressor = Self { phase, tally, thread, calls, runtime: run.target.runtime().clone() };
        match is_connected.recv() {
            Ok(()) => Ok(aggressor),
            // The thread ended without it, and says why.
            Err(mpsc::RecvError) => {
                aggressor.end(&mut Counts::default())?;
                Err(anyhow!("the devices of the one user did not connect"))
            }
        }
    }

    /// Asks for as much as fits from now on.
    pub fn set_on(&self) {
        self.phase.send_replace(Phase::On);
    }

    /// Asks for nothing more.
    pub fn set_quiet(&self) {
        self.phase.send_replace(Phase::Quiet);
    }

    /// Whether all that was asked for is answered; an error where its thread has ended.
    pub fn is_answered(&self) -> anyhow::Result<bool> {
        ensure!(!self.thread.is_finished(), "the thread of the one user has ended");
        Ok(self.tally.under_way() == 0)
    }

    /// Answers since they were last taken.
    pub fn take_answered(&self) -> u64 {
        self.tally.answered.swap(0, Relaxed)
    }

    /// Ends it, and counts what it saw.
    pub fn end(mut self, counts: &mut Counts) -> anyhow::Result<()> {
        self.phase.send_replace(Phase::Over);
        let ended = self.thread.join().map_err(|_| anyhow!("the thread of the one user panicked"))?;
        self.runtime.block_on(self.calls.shutdown());
        counts.add("aggressor_refused", self.tally.refused.load(Relaxed) as f64);
        counts.add("aggressor_closed", self.tally.closed.load(Relaxed) as f64);
        ended
    }
}

/// What calls by gRPC or JSON, if anything does.
fn calls(
    run: &Run<'_>,
    arguments: &Arguments,
    user: &User,
    phase: &watch::Sender<Phase>,
    tally: &Arc<Tally>,
) -> anyhow::Result<JoinSet<()>> {
    let mut calls = JoinSet::new();
    let caller = match arguments.aggression {
        Aggression::Calls | Aggression::All => {
            let client = MessageExtServiceClient::new(run.target.logic());
            for _ in 0..10 * arguments.under_way {
                let call = call(client.clone(), user.clone(), phase.subscribe(), tally.clone());
                calls.spawn_on(call, run.target.runtime());
            }
            return Ok(calls);
        }
        Aggression::Flood => flood::Caller::User(user.clone()),
        Aggression::StrangersFlood => flood::Caller::Stranger,
        _ => return Ok(calls),
    };
    let doors = (0..flood::CONNECTIONS).map(|_| run.target.another_of_clients()).collect::<anyhow::Result<_>>()?;
    let flood = flood::go_on(caller, doors, arguments.flood_rate, phase.subscribe(), tally.clone());
    calls.spawn_on(flood, run.target.runtime());
    Ok(calls)
}

/// Asks for a page of history again and again, while the phase is on.
async fn call(
    mut client: MessageExtServiceClient<tonic::transport::Channel>,
    user: User,
    mut phase: watch::Receiver<Phase>,
    tally: Arc<Tally>,
) {
    // Ends with the run, whose sender is gone then.
    while phase.wait_for(|phase| *phase != Phase::Quiet).await.is_ok_and(|phase| *phase == Phase::On) {
        let request = history(user.id);
        tally.begin_call();
        let request = metadata::signed(request, user.id, user.device_id, &user.token);
        let answer = tokio::time::timeout(DEADLINE, client.history(request)).await;
        tally.end_call(!matches!(answer, Ok(Ok(_))));
    }
}

fn history(user_id: u64) -> HistoryRequest {
    HistoryRequest { peer: Some(Peer::UserId(user_id)), ..HistoryRequest::default() }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    WritesToGroup,
    WritesToItself,
    Reads,
    Calls,
    DoesNotRead,
    Idle,
}

#[derive(Debug)]
struct Device {
    role: Role,
    under_way: u32,
}

impl Device {
    fn new(kind: Aggression, number: usize) -> Self {
        let of_connections = if number.is_multiple_of(4) { Role::WritesToItself } else { Role::DoesNotRead };
        let role = match kind {
            Aggression::Groups => Role::WritesToGroup,
            Aggression::Reads => Role::Reads,
            Aggression::Calls | Aggression::Flood | Aggression::StrangersFlood => Role::Idle,
            Aggression::ConnectionCalls => Role::Calls,
            Aggression::Connections => of_connections,
            Aggression::All => {
                [Role::WritesToGroup, Role::Reads, Role::WritesToItself, Role::DoesNotRead, Role::Calls][number % 5]
            }
        };
        Self { role, under_way: 0 }
    }
}

/// The devices of the one user.
struct Crowd {
    devices: Vec<Device>,
    greetings: Vec<Box<[u8]>>,
    endpoints: Vec<ServerEndpoint>,
    user_id: u64,
    group_id: u64,
    under_way_max: u32,
    phase: watch::Receiver<Phase>,
    was: Phase,
    tally: Arc<Tally>,
    /// Those whose connection the server closed.
    lost: Vec<usize>,
}

impl Crowd {
    fn go_on(mut self, part: Part, in_flight: usize, connected: &mpsc::Sender<()>) -> anyhow::Result<()> {
        let mut swarm = Swarm::for_part(part)?;
        let (endpoints, greetings) = (self.endpoints.clone(), self.greetings.clone());
        swarm.gather(&mut self, &endpoints, greetings.into_iter(), in_flight)?;
        // Who waits for it may have given up.
        let _is_awaited = connected.send(());
        while self.was != Phase::Over {
            swarm.turn(&mut self, Duration::MAX)?;
        }
        Ok(())
    }

    fn fill(&mut self, connection: &mut Connection) {
        let device = &mut self.devices[connection.id()];
        let mut frames = Vec::new();
        let under_way_max = match device.role {
            Role::Calls => self.under_way_max.min(CALLS_UNDER_WAY),
            _ => self.under_way_max,
        };
        while device.under_way < under_way_max {
            let packet = match device.role {
                Role::WritesToGroup => send(SendTarget::GroupId(self.group_id), MessageCommand::McGroupMessage),
                Role::WritesToItself => send(SendTarget::UserId(self.user_id), MessageCommand::McUserMessage),
                Role::Reads => {
                    let content = SyncRequest { from_start: true, ..SyncRequest::default() }.encode_to_vec().into();
                    Envelope { request_id: "read".into(), command: SYNC, content, seq: 0 }
                }
                Role::Calls => {
                    let (method, body) = ("logic.MessageExtService/History".into(), history(self.user_id));
                    let content = CallRequest { method, body: body.encode_to_vec().into() }.encode_to_vec().into();
                    Envelope { request_id: "call".into(), command: CALL, content, seq: 0 }
                }
                Role::DoesNotRead | Role::Idle => return,
            };
            device.under_way += 1;
            self.tally.under_way[0].fetch_add(1, Relaxed);
            packet.encode_length_delimited(&mut frames).expect("a Vec takes what it is given");
        }
        connection.send(&frames);
    }
}

fn send(target: SendTarget, command: MessageCommand) -> Envelope {
    let client_msg_id = format!("{:016x}", rand::random::<u64>());
    let content = vec![b'.'; 100].into();
    let request = SendRequest { target: Some(target), command: command as i32, content, client_msg_id };
    Envelope { request_id: "write".into(), command: SEND, content: request.encode_to_vec().into(), seq: 0 }
}

impl Behaviour for Crowd {
    fn on_ready(&mut self, connection: &mut Connection, _now: Instant) -> anyhow::Result<()> {
        if self.devices[connection.id()].role == Role::DoesNotRead {
            return connection.get_stuck().context("cannot make a client slow");
        }
        if self.was == Phase::On {
            self.fill(connection);
        }
        Ok(())
    }

    fn on_packet(&mut self, connection: &mut Connection, packet: &Packet<'_>, _now: Instant) -> anyhow::Result<()> {
        if !matches!(packet.command, SEND | SYNC | CALL) {
            return Ok(());
        }
        self.tally.answer(Reply::read(packet.content)?.code != 0);
        let device = &mut self.devices[connection.id()];
        if device.under_way > 0 {
            device.under_way -= 1;
            self.tally.under_way[0].fetch_sub(1, Relaxed);
        }
        if self.was == Phase::On {
            self.fill(connection);
        }
        Ok(())
    }

    fn on_tick(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        let phase = *self.phase.borrow();
        if phase == Phase::On && self.was != Phase::On {
            let ready: Vec<_> = (0..self.devices.len()).filter(|&id| swarm.is_ready(id)).collect();
            ready.into_iter().for_each(|id| self.fill(swarm.connection(id)));
        }
        self.was = phase;
        for _ in 0..REOPENED_PER_TURN {
            let Some(id) = self.lost.pop() else { break };
            swarm.reopen(id, &self.endpoints[id % self.endpoints.len()], self.greetings[id].clone())?;
        }
        Ok(())
    }

    fn on_closed(&mut self, id: usize, _why: Closed) -> anyhow::Result<()> {
        self.tally.closed.fetch_add(1, Relaxed);
        let under_way = std::mem::take(&mut self.devices[id].under_way);
        self.tally.under_way[0].fetch_sub(under_way.into(), Relaxed);
        self.lost.push(id);
        Ok(())
    }
}
