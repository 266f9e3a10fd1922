//! The service as a whole: what starts after what, and what stops before what. [`joining`] is how it comes to
//! the other logic nodes, [`lease_renewal`] and [`housekeeping`] are what it does by itself, [`offline`] what is done while it does not
//! run, [`reload`] what SIGHUP changes, [`upgrading`] what a start does about rows of an earlier version, [`waking`] how offline pushes begin.

mod belonging;
mod claims;
mod event_telling;
mod housekeeping;
mod joining;
mod lease_renewal;
mod numbering;
mod offline;
mod reload;
mod upgrading;
mod waking;
mod writing;

use std::{
    future,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use gim_config::{
    Readiness, ServiceArguments,
    admin::{self, Admin},
    data_folder::{DataFolder, DataFolderError},
    grpc::{self, ClientListeners, GrpcServer},
    listen::ListenError,
    ready::ReadyPart,
    service::Running,
    sql::{self, Database, DatabaseError, DatabaseSettings, Taken},
};
use tokio::task::{JoinError, JoinHandle};
use tonic::service::RoutesBuilder;

pub use self::claims::claimed_names;
pub use self::offline::{Offline, open_offline, raise_seqs, run_raising_seqs};
use self::{
    event_telling::{EventTelling, RunningTelling},
    joining::{join_others, leave, or_leave, or_stop},
    lease_renewal::LeaseRenewal,
    numbering::FloorTelling,
    reload::Reloadable,
    writing::Writing,
};
use crate::{
    clients::business::Business,
    delivery::{catch_up::CatchUp, nodes::Nodes},
    dispatch::Dispatch,
    domain::{clock, short_id::ShortIds},
    http, legacy,
    link::{LinkParts, calls::Calls, service as link},
    metrics,
    offline_push::{self, OfflinePushes},
    rpc,
    settings::LogicSettings,
    shared_state::{SharedState, SharedStateError},
    store::{self, Store, StoreError, seqs::RaiseError, writer::Writer},
    usecase::{Parts, UseCases, listed_words::WordsError, reads::Reads},
    walk::Settled,
};

/// In the data folder, where no server keeps the database.
pub const DATABASE_FILE: &str = "logic.db";

/// How long calls and streams may take to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long whoever wakes devices may take for what is left then.
const PUSH_STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The first look into the database.
    #[error("the database {database}: {source}")]
    Store {
        /// Which.
        database: String,
        /// What came of it.
        source: StoreError,
    },
    /// Routes and rooms.
    #[error("shared_state: {0}")]
    SharedState(#[from] SharedStateError),
    /// A port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The address of the business service.
    #[error("business.endpoint: {0}")]
    Business(String),
    /// Another process has the data folder.
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    /// The server of the database is set to take less than messages need.
    #[error(
        "the database takes {bytes_max} bytes in a statement (its max_allowed_packet), and a message of \
         limits.content_bytes_max, for limits.push_users_max or group.normal_members_max receivers, needs {needed}: \
         raise the one or lower the others"
    )]
    StatementsTooShort {
        /// What it takes.
        bytes_max: u64,
        /// What is needed.
        needed: usize,
    },
    /// Another process has what this one needs for itself at the database.
    #[error("{0}")]
    DatabaseInUse(String),
    /// Nothing is kept there.
    #[error("there is no {}", .0.display())]
    NoDatabase(PathBuf),
    /// Nobody has a message there.
    #[error("there is no message and no inbox in {0}: was the backup put back?")]
    NothingKept(String),
    /// Seqs.
    #[error(transparent)]
    Raise(#[from] RaiseError),
    /// A key of tokens.
    #[error("{0}")]
    Files(String),
}

/// A running logic service.
#[derive(Debug)]
pub struct Logic {
    node: String,
    readiness: Readiness,
    grpc: GrpcServer,
    clients: Option<GrpcServer>,
    legacy: Vec<GrpcServer>,
    reloadable: Reloadable,
    admin: Admin,
    database: Database,
    /// Given back last.
    _data_folder: Option<DataFolder>,
    shared: Arc<dyn SharedState>,
    nodes: Arc<Nodes>,
    reads: Arc<Reads>,
    writer: Writer,
    writer_task: JoinHandle<()>,
    fanout_task: JoinHandle<()>,
    settled: Settled,
    telling: Option<FloorTelling>,
    offline_pushes: Option<OfflinePushes>,
    lease_renewal: JoinHandle<String>,
    claim: Option<JoinHandle<Taken>>,
    belonging: Option<JoinHandle<()>>,
    housekeeping: Vec<JoinHandle<()>>,
    events: RunningTelling,
}

/// Runs the service from its command line to its exit code.
///
/// It stands here, and `main` calls nothing else, because generic code is built where it is used: in the library, once, and not again
/// for the binary and for every test.
pub fn run(arguments: &ServiceArguments) -> ExitCode {
    gim_config::service::run(arguments, |settings: &LogicSettings| &settings.log, start)
}

/// Starts the service: database, writer, fan-out, then gRPC.
pub async fn start(settings: LogicSettings) -> Result<Logic, StartError> {
    let data_folder = take_folder(&settings.database, &settings.data_dir)?;
    let readiness = Readiness::default();
    let ready = ReadyParts::new(&readiness, &settings);
    let admin = admin::start(&settings.admin, metrics::DESCRIPTIONS, readiness.clone()).await?;
    metrics::begin_codes();
    // What is wrong with the settings is found before other nodes hear of this one.
    let reloadable = Reloadable::new(&settings).map_err(StartError::Files)?;
    let business = Arc::new(Business::new(&settings.business, &settings.grpc).map_err(StartError::Business)?);
    let store = open_store(&settings).await?;
    let (joined, belonging, claim, numbers) =
        join_others(&settings, &store, ready.redis, ready.companions.clone()).await?;
    let shared = joined.shared.clone();
    let events = or_leave(&*shared, EventTelling::new(&settings, &store, &numbers, &reloadable.words)).await?;
    ready.database.set(true);
    let database_watch = store.database.watch(ready.database);

    let pushes = or_leave(&*shared, waking::prepare(&settings, &store, &numbers, (&shared, &business)).await).await?;
    let Writing { nodes, fanout, fanout_task, writer, writer_task } =
        Writing::start(&settings, &store, &shared, (reloadable.request_shares.clone(), numbers.numbering));
    let parts = Parts {
        ids: numbers.ids,
        short_ids: Arc::new(ShortIds::new(settings.node_number, numbers.newest_id, clock::now_ms())),
        store: store.clone(),
        writer: writer.clone(),
        request_shares: reloadable.request_shares.clone(),
        business: business.clone(),
        jwt: reloadable.jwt.clone(),
        words: reloadable.words.clone(),
        shared: shared.clone(),
        nodes: nodes.clone(),
        fanout: fanout.clone(),
        event_streams: events.streams.clone(),
        web_push_key: offline_push::web_push_key(&settings.offline_push).map_err(StartError::Files)?,
    };
    let use_cases = Arc::new(UseCases::new(&settings, parts));
    // Before anything is said.
    or_stop(&*shared, &writer, read_words(&use_cases, &store).await).await?;
    let catch_up = CatchUp::new(&store, fanout.clone());
    let pushes = or_stop(&*shared, &writer, waking::start(pushes, &store, &use_cases, &events.threads)).await?;

    let listeners = listen(&settings, &use_cases, &business, (&nodes, ready.companions), &catch_up).await;
    let Listeners { clients, legacy, grpc } = or_stop(&*shared, &writer, listeners.map_err(StartError::from)).await?;
    ready.grpc.set(true);
    let (reads, listed_words) = (use_cases.reads.clone(), use_cases.listed_words.clone());
    let lease = Duration::from_millis(settings.link.lease_ms);
    let renewal = LeaseRenewal { joined, nodes: nodes.clone(), fanout, catch_up, use_cases };
    let housekeeping = housekeeping::start(&settings, &store, &shared, lease, listed_words);
    Ok(Logic {
        events: events.start(),
        housekeeping: housekeeping.into_iter().chain([database_watch]).collect(),
        node: settings.node,
        readiness,
        grpc,
        clients,
        legacy,
        reloadable,
        admin,
        database: store.database,
        _data_folder: data_folder,
        shared,
        nodes,
        reads,
        writer,
        writer_task,
        fanout_task,
        settled: numbers.settled,
        telling: numbers.telling,
        offline_pushes: pushes,
        lease_renewal: tokio::spawn(renewal.run(lease)),
        claim: claim.map(|claim| tokio::spawn(claim.keep())),
        belonging,
    })
}

/// What `/readyz` waits for.
struct ReadyParts {
    database: ReadyPart,
    grpc: ReadyPart,
    companions: ReadyPart,
    redis: Option<ReadyPart>,
}

impl ReadyParts {
    fn new(readiness: &Readiness, settings: &LogicSettings) -> Self {
        let has_redis = !settings.shared_state.url.is_empty();
        Self {
            database: readiness.part("database"),
            grpc: readiness.part("grpc"),
            companions: readiness.part("companions"),
            redis: has_redis.then(|| readiness.part("redis")),
        }
    }
}

fn database_error(store: &Store, source: StoreError) -> StartError {
    StartError::Store { database: store.database.name().to_owned(), source }
}

async fn read_words(use_cases: &UseCases, store: &Store) -> Result<(), StartError> {
    use_cases.listed_words.refresh().await.map_err(|error| match error {
        WordsError::Store(source) => database_error(store, source),
        problem @ WordsError::Unusable(_) => StartError::Files(problem.to_string()),
    })
}

/// Only what is kept there has to be ours: nodes of one host share a database server in any folder.
fn take_folder(database: &DatabaseSettings, data_dir: &Path) -> Result<Option<DataFolder>, StartError> {
    let folder = database.folder(data_dir, DATABASE_FILE)?;
    Ok(folder.map(|folder| DataFolder::take(&folder, "logic")).transpose()?)
}

async fn open_store(settings: &LogicSettings) -> Result<Store, StartError> {
    let database = Database::open(&settings.database, &settings.data_dir, DATABASE_FILE, &store::migrations()).await?;
    upgrading::upgrade(settings, &database).await?;
    let store = Store::new(database);
    check_statements(settings, &store.database).await?;
    Ok(store)
}

/// A message that the settings allow has to fit what the server of the database takes.
async fn check_statements(settings: &LogicSettings, database: &Database) -> Result<(), StartError> {
    let asked = sql::persevere(async || database.statement_bytes_max().await).await;
    let asked = asked
        .map_err(|error| StartError::Store { database: database.name().to_owned(), source: StoreError::from(error) })?;
    let receivers = settings.limits.push_users_max.max(settings.group.normal_members_max);
    let needed = store::statement_bytes(settings.limits.content_bytes_max, receivers);
    match asked {
        Some(bytes_max) if bytes_max < needed as u64 => Err(StartError::StatementsTooShort { bytes_max, needed }),
        _ => Ok(()),
    }
}

/// To what clients may call, whichever door they come through.
fn dispatch(settings: &LogicSettings, use_cases: &Arc<UseCases>, business: &Business) -> Dispatch {
    let mut own = RoutesBuilder::default();
    rpc::add_to(&mut own, use_cases.clone());
    let timeout = Duration::from_millis(settings.business.call_timeout_ms);
    Dispatch::new(own.routes(), business.channel(), timeout)
}

/// All that is open.
struct Listeners {
    clients: Option<GrpcServer>,
    legacy: Vec<GrpcServer>,
    grpc: GrpcServer,
}

async fn listen(
    settings: &LogicSettings,
    use_cases: &Arc<UseCases>,
    business: &Arc<Business>,
    (nodes, companions): (&Arc<Nodes>, ReadyPart),
    catch_up: &CatchUp,
) -> Result<Listeners, ListenError> {
    let dispatch = dispatch(settings, use_cases, business);
    let mut routes = RoutesBuilder::default();
    rpc::add_to(&mut routes, use_cases.clone());
    let parts = LinkParts {
        calls: Calls::new(dispatch.clone(), use_cases.request_shares.clone(), &settings.call),
        limits: settings.limits.clone(),
        node: settings.node.clone(),
        nodes: nodes.clone(),
        companions,
        catch_up: catch_up.clone(),
        use_cases: use_cases.clone(),
    };
    link::add_to(&mut routes, parts);
    let older = legacy::methods();
    let listeners = ClientListeners::new(&settings.clients, &settings.grpc, &older);
    let legacy = legacy::start(settings, &listeners, &dispatch, business).await?;
    let clients = http::start(&settings.clients, &listeners, dispatch, use_cases.clone()).await?;
    let grpc = grpc::serve_telling(&settings.grpc, routes, &rpc::SERVICE_NAMES, &older).await?;
    Ok(Listeners { clients, legacy, grpc })
}

impl Logic {
    /// Where clients, backends and conn nodes call it.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc.address()
    }

    /// Where apps and pages call it, if anywhere.
    pub fn clients_address(&self) -> Option<SocketAddr> {
        self.clients.as_ref().map(GrpcServer::address)
    }

    /// Where those call who speak older dialects, in the order of the settings.
    pub fn legacy_addresses(&self) -> Vec<SocketAddr> {
        self.legacy.iter().map(GrpcServer::address).collect()
    }

    /// Where metrics and health are, if anywhere.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address()
    }

    /// Up to where message ids are settled, as this node knows it.
    pub fn settled(&self) -> &Settled {
        &self.settled
    }

    /// What `/readyz` answers from.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl Running for Logic {
    type Settings = LogicSettings;

    fn summary(&self) -> String {
        let admin = self.admin.address().map_or("off".to_owned(), |address| address.to_string());
        let clients = self.clients_address().map_or("off".to_owned(), |address| address.to_string());
        format!("logic {} is ready: gRPC on {}, clients on {clients}, admin on {admin}", self.node, self.grpc.address())
    }

    fn check(&self, settings: &LogicSettings) -> Result<(), String> {
        self.reloadable.check(settings)
    }

    async fn reload(&mut self, settings: Option<&LogicSettings>) -> Result<(), String> {
        let applied = match settings.cloned() {
            None => Ok(()),
            Some(settings) => {
                let reloadable = self.reloadable.clone();
                // A list of a hundred thousand words takes a moment.
                let applied = tokio::task::spawn_blocking(move || reloadable.apply(&settings)).await;
                applied.map_err(|error| error.to_string()).flatten()
            }
        };
        let origins = settings.filter(|_| applied.is_ok()).map(|settings| settings.clients.origins.as_slice());
        let servers = self.clients.iter().chain(&self.legacy).chain([&self.grpc]);
        let of_servers = servers.map(|server| server.reload(origins));
        let of_callers = self.reloadable.grpc.reload_caller_tls();
        grpc::all_of([applied].into_iter().chain(of_servers).chain([of_callers]))
    }

    fn admin(&mut self) -> &mut Admin {
        &mut self.admin
    }

    async fn failed(&mut self) -> String {
        tokio::select! {
            problem = self.grpc.failed() => problem,
            problem = any_failed(self.clients.iter_mut().chain(&mut self.legacy)) => problem,
            ended = &mut self.writer_task => describe("the inbox writer", ended),
            ended = &mut self.fanout_task => describe("the fan-out", ended),
            ended = OfflinePushes::ended(&mut self.offline_pushes) => describe("the task of offline pushes", ended),
            ended = &mut self.lease_renewal => ended.unwrap_or_else(|error| describe("the renewal of leases", Err(error))),
            problem = claims::lost(&mut self.claim) => problem,
            problem = self.events.failed() => problem,
            ended = FloorTelling::ended(&mut self.telling) => describe("the telling of message ids", ended),
        }
    }

    /// Conn nodes move their users to other logic nodes, everything that was asked for is committed and pushed; then the streams
    /// end, and the database.
    async fn stop(self) {
        for task in &self.housekeeping {
            task.abort();
        }
        self.clients.iter().chain(&self.legacy).for_each(GrpcServer::refuse);
        self.nodes.leave().await;
        self.lease_renewal.abort();
        self.grpc.refuse();
        self.reads.stop().await;
        self.writer.close();
        join("the inbox writer", self.writer_task).await;
        join("the fan-out", self.fanout_task).await;
        if let Some(pushes) = self.offline_pushes {
            pushes.stop(PUSH_STOP_TIMEOUT).await;
        }
        self.events.stop().await;
        if let Some(telling) = self.telling {
            telling.end().await;
        }
        self.nodes.stop();
        for clients in self.clients.into_iter().chain(self.legacy) {
            clients.stop(STOP_TIMEOUT).await;
        }
        self.grpc.stop(STOP_TIMEOUT).await;
        if let Some(belonging) = self.belonging {
            join("what this node says to others of its database", belonging).await;
        }
        leave(&*self.shared).await;
        self.claim.iter().for_each(JoinHandle::abort);
        self.database.close().await;
        self.admin.stop().await;
    }
}

async fn any_failed(servers: impl Iterator<Item = &mut GrpcServer>) -> String {
    let mut all: Vec<_> = servers.map(|server| Box::pin(server.failed())).collect();
    future::poll_fn(|context| {
        let failed = all.iter_mut().find_map(|server| match server.as_mut().poll(context) {
            Poll::Ready(problem) => Some(problem),
            Poll::Pending => None,
        });
        failed.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

fn describe(name: &str, ended: Result<(), JoinError>) -> String {
    match ended {
        Ok(()) => format!("{name} ended"),
        Err(error) => format!("{name} failed: {error}"),
    }
}

async fn join(name: &str, mut task: JoinHandle<()>) {
    match tokio::time::timeout(STOP_TIMEOUT, &mut task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "{name} failed"),
        Err(_) => {
            tracing::error!("{name} did not finish in time");
            task.abort();
        }
    }
}
