//! The service as a whole: what starts after what, what stops before what, and the tasks that keep house.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use gim_config::{
    Readiness,
    admin::{self, Admin},
    grpc::GrpcServer,
    listen::ListenError,
    service::Running,
    sql::{Database, DatabaseError},
};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle},
};

use crate::{
    clients::business::Business,
    clients::jwt::JwtCheck,
    delivery::{fanout::Fanout, nodes::Nodes},
    domain::{
        clock,
        message_id::{self, MessageIds},
    },
    http::{self, Gateway},
    lease_renewal, rpc,
    settings::{LogicSettings, RetentionSettings},
    shared_state::{SharedState, SharedStateError, local::LocalState, redis::RedisState},
    store::{self, Store, StoreError, retention::Steps, sent::PURGE_STEP_ROWS, writer::Writer},
    usecase::{App, Directory, RoomOrder, RoomSends},
};

/// Committed batches that wait for the fan-out; a full queue holds the writer up.
const COMMITTED_BATCHES_MAX: usize = 16;

/// How long calls and streams may take to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How often keys of sends are looked through for those past their retention.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// Between two steps of a purge, so that it never holds the writer up.
const PURGE_PAUSE: Duration = Duration::from_millis(50);

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The first look into the database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Routes and rooms.
    #[error("shared_state: {0}")]
    SharedState(#[from] SharedStateError),
    /// A port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The address of the business service.
    #[error("business.endpoint: {0}")]
    Business(String),
    /// A key of tokens.
    #[error("{0}")]
    Jwt(String),
}

/// A running logic service.
#[derive(Debug)]
pub struct Logic {
    node: String,
    readiness: Readiness,
    grpc: GrpcServer,
    gateway: Gateway,
    admin: Admin,
    app: Arc<App>,
    writer: JoinHandle<()>,
    fanout: JoinHandle<()>,
    lease_renewal: JoinHandle<String>,
    housekeeping: Vec<JoinHandle<()>>,
}

/// Starts the service: database, writer, fan-out, then gRPC.
pub async fn start(settings: LogicSettings) -> Result<Logic, StartError> {
    let readiness = Readiness::default();
    let (database_part, grpc_part) = (readiness.part("database"), readiness.part("grpc"));
    let admin = admin::start(&settings.admin, readiness.clone()).await?;
    let database = Database::open(&settings.database, &settings.data_dir, "logic.db", &store::MIGRATIONS).await?;
    let store = Store::new(database);
    let lease = Duration::from_millis(settings.link.lease_ms);
    let shared = shared_state(&settings, lease, &store).await?;
    // Only now: a former process with this node number may have made ids until its lease was over.
    let newest_id = store.inboxes.newest_message_id().await?;
    database_part.set(true);

    let nodes = Arc::new(Nodes::new(settings.link.clone()));
    let fanout = Fanout::new(shared.clone(), nodes.clone());
    let (deliveries, committed) = mpsc::channel(COMMITTED_BATCHES_MAX);
    let (writer, writer_task) = Writer::start(&store.database, &settings.inbox, deliveries);
    let fanout_task = tokio::spawn(fanout.clone().run(committed));
    let business = Business::new(&settings.business, &settings.grpc).map_err(StartError::Business)?;
    let jwt = JwtCheck::new(&settings.jwt).map_err(StartError::Jwt)?;
    let app = Arc::new(App {
        node: settings.node.clone(),
        limits: settings.limits.clone(),
        messages: settings.message.clone(),
        group: settings.group.clone(),
        kick: settings.kick.clone(),
        ids: MessageIds::new(settings.node_number, newest_id),
        store,
        writer,
        business,
        jwt,
        shared,
        nodes,
        directory: Directory::new(settings.gateway.clone()),
        fanout,
        room_order: RoomOrder::default(),
        room_sends: RoomSends::new(&settings.room),
    });

    let listeners = async {
        let gateway = http::start(&settings.gateway, app.clone()).await?;
        Ok((gateway, rpc::serve(&settings.grpc, app.clone()).await?))
    };
    let (gateway, grpc) = match listeners.await {
        Ok(listeners) => listeners,
        Err::<_, ListenError>(error) => {
            app.writer.close();
            leave(&app).await;
            return Err(error.into());
        }
    };
    grpc_part.set(true);
    let housekeeping = vec![
        tokio::spawn(sweep(app.clone(), lease / 3)),
        tokio::spawn(purge(app.clone(), settings.inbox.idempotency_s)),
        tokio::spawn(purge_revocations(app.clone(), settings.jwt.lifetime_max_s)),
        tokio::spawn(retain(app.clone(), settings.retention.clone())),
    ];
    let lease_renewal = tokio::spawn(lease_renewal::run(app.clone(), lease));
    let node = settings.node;
    Ok(Logic {
        node,
        readiness,
        grpc,
        gateway,
        admin,
        app,
        writer: writer_task,
        fanout: fanout_task,
        lease_renewal,
        housekeeping,
    })
}

async fn shared_state(
    settings: &LogicSettings,
    lease: Duration,
    store: &Store,
) -> Result<Arc<dyn SharedState>, SharedStateError> {
    let (room, seqs) = (settings.room.clone(), store.room_seqs.clone());
    if settings.shared_state.url.is_empty() {
        return Ok(Arc::new(LocalState::new(lease, room, seqs)));
    }
    let (node, number) = (&settings.node, settings.node_number);
    Ok(Arc::new(RedisState::start(&settings.shared_state, node, number, lease, room, seqs).await?))
}

impl Logic {
    /// Where clients, products and conn nodes call it.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc.address()
    }

    /// Where `GET /locate` is answered, if anywhere.
    pub fn gateway_address(&self) -> Option<SocketAddr> {
        self.gateway.address()
    }

    /// Where metrics and health are, if anywhere.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address()
    }

    /// What `/readyz` answers from.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl Running for Logic {
    fn summary(&self) -> String {
        let admin = self.admin.address().map_or("off".to_owned(), |address| address.to_string());
        format!("logic {} is ready: gRPC on {}, admin on {admin}", self.node, self.grpc.address())
    }

    async fn failed(&mut self) -> String {
        tokio::select! {
            problem = self.grpc.failed() => problem,
            ended = &mut self.writer => describe("the inbox writer", ended),
            ended = &mut self.fanout => describe("the fan-out", ended),
            ended = &mut self.lease_renewal => ended.unwrap_or_else(|error| describe("the renewal of leases", Err(error))),
        }
    }

    /// Conn nodes move their users to other logic nodes, everything that was asked for is committed and pushed; then the streams
    /// end, and the database.
    async fn stop(self) {
        for task in &self.housekeeping {
            task.abort();
        }
        self.gateway.stop().await;
        self.app.nodes.leave().await;
        self.lease_renewal.abort();
        self.grpc.refuse();
        self.app.writer.close();
        join("the inbox writer", self.writer).await;
        join("the fan-out", self.fanout).await;
        self.app.nodes.stop();
        self.grpc.stop(STOP_TIMEOUT).await;
        leave(&self.app).await;
        self.app.store.database.close().await;
        self.admin.stop().await;
    }
}

async fn leave(app: &App) {
    if let Err(error) = app.shared.close().await {
        tracing::error!(%error, "the shared state was not left in order");
    }
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

/// Forgets nodes, connections and rooms that ran out.
async fn sweep(app: Arc<App>, interval: Duration) {
    let mut interval = tokio::time::interval(interval);
    loop {
        interval.tick().await;
        if let Err(error) = app.shared.sweep().await {
            tracing::warn!(%error, "housekeeping of routes and rooms is put off");
        }
    }
}

/// Deletes messages that are kept no longer.
async fn retain(app: Arc<App>, settings: RetentionSettings) {
    if settings.keep_s == 0 {
        return;
    }
    let mut interval = tokio::time::interval(Duration::from_secs(settings.interval_s));
    let keep_ms = i64::try_from(settings.keep_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    let steps = Steps { rows: settings.step_rows, pause: Duration::from_millis(settings.step_pause_ms) };
    loop {
        interval.tick().await;
        let before_id = message_id::least_at(clock::now_ms().saturating_sub(keep_ms));
        match app.store.retention.sweep(before_id, steps).await {
            Ok(swept) => tracing::info!(rows = swept.rows, messages = swept.messages, "deleted what is kept no longer"),
            Err(error) => tracing::warn!(%error, "the deletion of old messages is put off"),
        }
    }
}

/// Forgets keys of sends after their retention, a step at a time.
async fn purge(app: Arc<App>, idempotency_s: u64) {
    let mut interval = tokio::time::interval(PURGE_INTERVAL);
    let retention_ms = i64::try_from(idempotency_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    loop {
        interval.tick().await;
        let before_ms = clock::now_ms().saturating_sub(retention_ms);
        loop {
            match app.store.sent_keys.purge_step(before_ms).await {
                Ok(purged) if purged == u64::from(PURGE_STEP_ROWS) => tokio::time::sleep(PURGE_PAUSE).await,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "the purge of send keys is put off");
                    break;
                }
            }
        }
    }
}

/// Forgets revocations that no token can outlive, a step at a time.
async fn purge_revocations(app: Arc<App>, lifetime_max_s: u32) {
    let mut interval = tokio::time::interval(PURGE_INTERVAL);
    loop {
        interval.tick().await;
        let before_ms = clock::now_ms().saturating_sub(i64::from(lifetime_max_s) * 1000);
        if let Err(error) = app.store.revocations.purge_step(before_ms).await {
            tracing::warn!(%error, "the purge of revocations is put off");
        }
    }
}
