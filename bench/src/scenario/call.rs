//! How many calls of gRPC fit into a second, and how long does each take?
//!
//! Callers, a user each, call again as soon as they have the answer (a closed loop), all over one connection. They run on the
//! runtime of gRPC while the scenario's thread waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::ValueEnum;
use gim_proto::{
    business::{
        FriendAddRequest, FriendAgreeRequest, FriendSendMessageRequest,
        friend_ext_service_client::FriendExtServiceClient,
    },
    logic::{SyncRequest, message_ext_service_client::MessageExtServiceClient},
    metadata,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::{Request, Status, transport::Channel};

use crate::{
    counts::Counts,
    load::{LoadArguments, Measurement, OwnCpu, Run},
    progress::Progress,
    result::Figures,
    stats::{Latencies, ratio},
    swarm::DEADLINE,
    target::{Target, refused},
    users::User,
};

/// The part of the time that is not measured.
const WARM_UP: f64 = 0.1;

/// Between two looks at the time, for who waits.
const LOOK: Duration = Duration::from_millis(200);

/// Arguments of `call`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// What is called
    #[arg(long, value_enum, value_name = "METHOD", default_value_t = Method::FriendSend)]
    method: Method,
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

impl Measurement for Arguments {
    const NAME: &'static str = "call";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        let method = self.method.to_possible_value();
        let method = method.as_ref().map(clap::builder::PossibleValue::get_name);
        json!({ "method": method, "callers": self.callers, "size": self.size })
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
        let mut callers = Callers::start(self, run, &users);
        let (duration, warm_up) = (self.load.duration(), self.load.duration().mul_f64(WARM_UP));
        callers.go_on(warm_up, &run.target)?;
        callers.measures.store(true, Relaxed);
        let (started, own_cpu) = (Instant::now(), OwnCpu::start());
        let mut progress = Progress::new("calling", duration.as_millis() as u64);
        while started.elapsed() < duration - warm_up {
            callers.go_on(LOOK.min(duration), &run.target)?;
            progress.show((warm_up + started.elapsed()).as_millis() as u64, || format!("{} callers", users.len()));
        }
        callers.measures.store(false, Relaxed);
        let elapsed = started.elapsed();
        own_cpu.check(run);
        let latencies = callers.end(&run.target)?;
        run.counts.add_rate("calls", ratio(latencies.count() as f64, elapsed.as_secs_f64()));
        run.counts.add_latencies("calls", &latencies);
        Ok(())
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        let latencies = counts.latencies("calls");
        figures.measure("calls_per_second", counts.get("calls"), "calls per second");
        figures.within("p50_ms", &latencies, 0.5, "half of them within (ms)");
        figures.within("p99_ms", &latencies, 0.99, "99 % within (ms)");
        ensure!(latencies.count() > 0, "no call was answered");
        Ok(())
    }
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

/// All of them, until they are ended.
struct Callers {
    tasks: JoinSet<anyhow::Result<Latencies>>,
    measures: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

impl Callers {
    fn start(arguments: &Arguments, run: &Run<'_>, users: &[User]) -> Self {
        let mut callers = Self { tasks: JoinSet::new(), measures: Arc::default(), is_over: Arc::default() };
        let content = Bytes::from(vec![b'.'; arguments.size as usize]);
        for pair in users.chunks_exact(2) {
            for (caller, peer) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                let caller = Caller {
                    method: arguments.method,
                    friends: FriendExtServiceClient::new(run.target.business()),
                    messages: MessageExtServiceClient::new(run.target.logic()),
                    user: caller.clone(),
                    peer_id: peer.id,
                    content: content.clone(),
                };
                let task = caller.call_on(callers.measures.clone(), callers.is_over.clone());
                callers.tasks.spawn_on(task, run.target.runtime());
            }
        }
        callers
    }

    /// Waits while they call; an error as soon as one of them has to end.
    fn go_on(&mut self, duration: Duration, target: &Target) -> anyhow::Result<()> {
        let ended = async { tokio::time::timeout(duration, self.tasks.join_next()).await };
        match target.runtime().block_on(ended) {
            Ok(Some(ended)) => ended.context("a caller ended early")?.map(drop),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Waits for the answers that are under way; how long each took that came in time to count.
    fn end(mut self, target: &Target) -> anyhow::Result<Latencies> {
        self.is_over.store(true, Relaxed);
        let mut all = Latencies::default();
        while let Some(ended) = target.runtime().block_on(self.tasks.join_next()) {
            all.add(&ended.context("a caller ended early")??);
        }
        Ok(all)
    }
}

/// One of them.
struct Caller {
    method: Method,
    friends: FriendExtServiceClient<Channel>,
    messages: MessageExtServiceClient<Channel>,
    user: User,
    peer_id: u64,
    content: Bytes,
}

impl Caller {
    async fn call_on(mut self, measures: Arc<AtomicBool>, is_over: Arc<AtomicBool>) -> anyhow::Result<Latencies> {
        let mut latencies = Latencies::default();
        while !is_over.load(Relaxed) {
            let began = Instant::now();
            let answer = tokio::time::timeout(DEADLINE, self.call()).await;
            answer.context("a call was not answered in time")?.map_err(|status| refused("a call", &status))?;
            if measures.load(Relaxed) {
                latencies.record(began.elapsed());
            }
        }
        Ok(latencies)
    }

    async fn call(&mut self) -> Result<(), Status> {
        match self.method {
            Method::FriendSend => {
                let (user_id, content) = (self.peer_id, self.content.clone());
                let request = FriendSendMessageRequest { user_id, content, client_msg_id: String::new() };
                self.friends.send_message(signed(request, &self.user)).await.map(drop)
            }
            Method::Sync => self.messages.sync(signed(SyncRequest::default(), &self.user)).await.map(drop),
        }
    }
}
