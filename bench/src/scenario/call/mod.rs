//! How many calls fit into a second, and how long does each take?
//!
//! Callers, a user each, call again as soon as they have the answer (a closed loop). By gRPC all do so over one connection. Over their
//! long connections (PC_CALL), and by JSON at the clients' listener, they take turns, second by second, with calls of gRPC of the same
//! method, over as many connections.

mod by_connection;
mod by_request;
mod request;

use std::time::Instant;

use anyhow::ensure;
use bytes::Bytes;
use clap::ValueEnum;
use gim_proto::{
    business::{
        FriendAddRequest, FriendAgreeRequest, FriendSendMessageRequest,
        friend_ext_service_client::FriendExtServiceClient,
    },
    connect::CallRequest,
    logic::SyncRequest,
    metadata,
};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::Request;

use self::{by_connection::ByConnection, by_request::ByRequest, request::Door};
use crate::{
    counts::Counts,
    load::{CONNECTS_IN_FLIGHT, LoadArguments, Measurement, OwnCpu, Run},
    paired_run::{PairedRun, Side, Slice},
    progress::Progress,
    result::Figures,
    stats::ratio,
    swarm::DEADLINE,
    target::Target,
    users::User,
};

/// The part of the time that is not measured, where gRPC is alone.
const WARM_UP: f64 = 0.1;

/// Arguments of `call`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// What is called
    #[arg(long, value_enum, value_name = "METHOD", default_value_t = Method::FriendSend)]
    method: Method,
    /// Which way calls go
    #[arg(long, value_enum, value_name = "WAY", default_value_t = Via::Grpc)]
    via: Via,
    /// Users who call, an even number
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    callers: u32,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    size: u32,
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// A message to a friend, durable: business.FriendExtService/SendMessage
    FriendSend,
    /// What is new, where nothing is: logic.MessageExtService/Sync
    Sync,
}

/// Which way calls go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Via {
    /// gRPC, all over one connection
    Grpc,
    /// The long connection of each caller, against gRPC over as many connections
    Connection,
    /// JSON at the clients' listener, against gRPC over as many connections
    Json,
}

impl Method {
    /// As gRPC calls it.
    fn name(self) -> &'static str {
        match self {
            Self::FriendSend => "business.FriendExtService/SendMessage",
            Self::Sync => "logic.MessageExtService/Sync",
        }
    }
}

impl Measurement for Arguments {
    const NAME: &'static str = "call";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        let (method, via) = (name_of(self.method), name_of(self.via));
        json!({ "method": method, "via": via, "callers": self.callers, "size": self.size })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("pairs of --callers", self.callers / 2)]
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.callers.is_multiple_of(2), "--callers must be even, as they call in pairs");
        Ok(())
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let users = run.sign_up(2 * run.share(self.callers / 2))?;
        if self.method == Method::FriendSend {
            users.chunks_exact(2).try_for_each(|pair| make_friends(&run.target, &pair[0], &pair[1]))?;
        }
        match self.via {
            Via::Grpc => self.measure_grpc(run, &users),
            Via::Connection => self.measure_connections(run, &users),
            Via::Json => self.measure_json(run, &users),
        }
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        let latencies = counts.latencies("calls");
        figures.measure("calls_per_second", counts.get("calls"), "calls per second");
        figures.within("p50_ms", &latencies, 0.5, "half of them within (ms)");
        figures.within("p99_ms", &latencies, 0.99, "99 % within (ms)");
        if self.via != Via::Grpc {
            let (bare, latencies) = (counts.get("grpc"), counts.latencies("grpc"));
            figures.measure("grpc_per_second", bare, "calls of gRPC per second, over as many connections");
            figures.within("grpc_p99_ms", &latencies, 0.99, "99 % of these within (ms)");
            figures.measure("ratio", ratio(counts.get("calls"), bare), "per second, against those of gRPC");
        }
        ensure!(latencies.count() > 0, "no call was answered");
        Ok(())
    }
}

impl Arguments {
    fn measure_grpc(&self, run: &mut Run<'_>, users: &[User]) -> anyhow::Result<()> {
        let door = |_| Door::Grpc { logic: run.target.logic(), business: run.target.business() };
        let mut callers = ByRequest::start(self, &run.target, users, users.iter().map(door).collect());
        let spent = run.spent();
        let (start, duration) = (Instant::now(), self.load.duration());
        let slice =
            Slice { side: Side::Server, measure_from: start + duration.mul_f64(WARM_UP), end: start + duration };
        let own_cpu = OwnCpu::start();
        let mut progress = Progress::new("calling", duration.as_millis() as u64);
        callers.call_in(slice, &run.target, || {
            progress.show(start.elapsed().as_millis() as u64, || format!("{} callers", users.len()));
        })?;
        own_cpu.check(run);
        run.charge(&spent, callers.called());
        run.counts.add_score("calls", &callers.end());
        Ok(())
    }

    fn measure_connections(&self, run: &mut Run<'_>, users: &[User]) -> anyhow::Result<()> {
        let mut swarm = run.swarm(2 * users.len())?;
        let calls = pairs(users).map(|(_, peer)| self.call_to(peer));
        let mut connections = ByConnection::new(calls);
        let greetings = users.iter().map(|user| user.greeting.clone());
        swarm.gather(&mut connections, run.target.endpoints(), greetings, run.in_flight(CONNECTS_IN_FLIGHT))?;
        let mut grpc = self.grpc_alone(run, users)?;
        let own_cpu = OwnCpu::start();
        let paired = PairedRun::new(self.load.duration());
        let mut progress = Progress::new("calling", paired.len().into());
        for number in 0..paired.len() {
            run.meet("slice", &mut swarm, &mut connections)?;
            let (spent, answered) = (run.spent(), connections.answered());
            let slice = paired.begin(number);
            match slice.side {
                Side::Baseline => grpc.call_in(slice, &run.target, || {})?,
                Side::Server => {
                    connections.begin(slice, &mut swarm);
                    swarm.run_until(&mut connections, slice.end)?;
                    let ended = swarm.settle(&mut connections, |all| all.answered(), |all| all.waiting() == 0)?;
                    connections.score.end(&slice);
                    run.charge(&spent, connections.answered() - answered);
                    ensure!(ended, "calls that were not answered within {DEADLINE:?}: {}", connections.waiting());
                }
            }
            progress.show((number + 1).into(), || format!("{:.0}/s", connections.score.per_second().unwrap_or(0.0)));
        }
        own_cpu.check(run);
        run.counts.add_score("calls", &connections.score);
        run.counts.add_score("grpc", &grpc.end());
        Ok(())
    }

    fn measure_json(&self, run: &mut Run<'_>, users: &[User]) -> anyhow::Result<()> {
        let doors = users.iter().map(|_| run.target.another_of_clients().map(Door::Json));
        let mut json = ByRequest::start(self, &run.target, users, doors.collect::<anyhow::Result<_>>()?);
        let mut grpc = self.grpc_alone(run, users)?;
        let own_cpu = OwnCpu::start();
        let paired = PairedRun::new(self.load.duration());
        let mut progress = Progress::new("calling", paired.len().into());
        for number in 0..paired.len() {
            let (spent, called) = (run.spent(), json.called());
            let slice = paired.begin(number);
            match slice.side {
                Side::Baseline => grpc.call_in(slice, &run.target, || {})?,
                Side::Server => {
                    json.call_in(slice, &run.target, || {})?;
                    run.charge(&spent, json.called() - called);
                }
            }
            progress.show((number + 1).into(), || format!("{} callers", users.len()));
        }
        own_cpu.check(run);
        run.counts.add_score("calls", &json.end());
        run.counts.add_score("grpc", &grpc.end());
        Ok(())
    }

    /// Callers by gRPC, each over connections of its own.
    fn grpc_alone(&self, run: &Run<'_>, users: &[User]) -> anyhow::Result<ByRequest> {
        let door = |_| Ok(Door::Grpc { logic: run.target.another_logic()?, business: run.target.another_business()? });
        let doors = users.iter().map(door).collect::<anyhow::Result<_>>()?;
        Ok(ByRequest::start(self, &run.target, users, doors))
    }

    /// The call of a user whose friend this is, as a packet says it.
    fn call_to(&self, peer_id: u64) -> CallRequest {
        let body = match self.method {
            Method::FriendSend => friend_message(peer_id, self.content()).encode_to_vec(),
            Method::Sync => SyncRequest::default().encode_to_vec(),
        };
        CallRequest { method: self.method.name().to_owned(), body: body.into() }
    }

    fn content(&self) -> Bytes {
        vec![b'.'; self.size as usize].into()
    }
}

fn friend_message(user_id: u64, content: Bytes) -> FriendSendMessageRequest {
    FriendSendMessageRequest { user_id, content, client_msg_id: String::new() }
}

fn name_of(value: impl ValueEnum) -> Option<String> {
    value.to_possible_value().map(|value| value.get_name().to_owned())
}

/// Each of them, with the id of the other one of the pair.
fn pairs(users: &[User]) -> impl Iterator<Item = (&User, u64)> {
    users.chunks_exact(2).flat_map(|pair| [(&pair[0], pair[1].id), (&pair[1], pair[0].id)])
}

fn make_friends(target: &Target, one: &User, other: &User) -> anyhow::Result<()> {
    let mut client = FriendExtServiceClient::new(target.business());
    let request = FriendAddRequest { friend_id: other.id, ..FriendAddRequest::default() };
    target.call("FriendExtService/Add", client.add(signed(request, one)))?;
    let request = FriendAgreeRequest { user_id: one.id, ..FriendAgreeRequest::default() };
    target.call("FriendExtService/Agree", client.agree(signed(request, other)))
}

fn signed<T>(request: T, user: &User) -> Request<T> {
    metadata::signed(request, user.id, user.device_id, &user.token)
}
