//! A connection to Redis, whichever way it is run: one server, Sentinel or Cluster, told apart by the URL.
//!
//! Always holds: a call ends within the command timeout, waiting for a connection included, and no more calls than the
//! settings allow are under way. A connection that failed is dropped; the next call makes another. Any task.

use std::{
    fmt, fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use gim_config::in_gauge::InGauge;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ErrorKind, FromRedisValue,
    IntoConnectionInfo as _, Pipeline, RedisConnectionInfo, RedisError, TlsCertificates, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    from_redis_value,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::{
    sync::{Mutex, Semaphore},
    task::JoinSet,
};

use super::metrics::RedisMetrics;
use crate::{
    settings::{Credentials, RedisTarget, RedisWay, SharedStateSettings, TlsFiles},
    shared_state::SharedStateError,
};

/// Runs commands.
pub(super) struct RedisClient {
    source: Source,
    timeout: Duration,
    under_way: Semaphore,
    /// Said once when it goes away, and once when it takes writes again.
    is_away: AtomicBool,
    metrics: RedisMetrics,
    round_trips: AtomicU64,
    commands: AtomicU64,
}

enum Source {
    Single(Client, Mutex<Option<MultiplexedConnection>>),
    Sentinel(Mutex<(SentinelClient, Option<MultiplexedConnection>)>),
    Cluster(ClusterClient, Mutex<Option<ClusterConnection>>),
}

enum Connection {
    Plain(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl fmt::Debug for RedisClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RedisClient").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl RedisClient {
    /// Connects to nothing yet.
    pub(super) fn new(target: &RedisTarget, settings: &SharedStateSettings) -> Result<Self, SharedStateError> {
        let timeout = Duration::from_millis(settings.command_timeout_ms);
        let certificates = target.tls.as_ref().map(read_certificates).transpose()?;
        let source = Source::new(target, certificates, timeout)
            .map_err(|error| SharedStateError::Mistaken(format!("shared_state.url: {error}")))?;
        let under_way = Semaphore::new(settings.calls_in_flight_max);
        Ok(Self {
            source,
            timeout,
            under_way,
            is_away: AtomicBool::new(false),
            metrics: RedisMetrics::default(),
            round_trips: AtomicU64::new(0),
            commands: AtomicU64::new(0),
        })
    }

    /// Round trips and commands so far.
    pub(super) fn usage(&self) -> (u64, u64) {
        (self.round_trips.load(Ordering::Relaxed), self.commands.load(Ordering::Relaxed))
    }

    /// Runs one command.
    pub(super) async fn run<T: FromRedisValue>(&self, command: Cmd) -> Result<T, SharedStateError> {
        let value = self.run_all(vec![command]).await?.pop().unwrap_or(Value::Nil);
        read(value)
    }

    /// [`RedisClient::run_all`] of commands that write: if they succeed, everything works again. A server that answers reads and
    /// refuses writes would otherwise come and go.
    pub(super) async fn prove(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, SharedStateError> {
        let answers = self.run_all(commands).await?;
        if self.is_away.swap(false, Ordering::Relaxed) {
            tracing::info!("Redis takes everything again");
        }
        Ok(answers)
    }

    /// Runs commands in one round trip (in a cluster, side by side); answers in their order. Where one fails, all count as
    /// failed, though others may have been done: each has to bear being repeated.
    pub(super) async fn run_all(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, SharedStateError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        self.commands.fetch_add(commands.len() as u64, Ordering::Relaxed);
        let (started, _pending) = (Instant::now(), InGauge::one(&self.metrics.pending));
        let bounded = tokio::time::timeout(self.timeout, async {
            let _permit = self.under_way.acquire().await;
            let connection = self.connection().await?;
            let answer = match connection {
                Connection::Plain(mut connection) => pipelined(&mut connection, commands).await,
                Connection::Cluster(connection) => side_by_side(&connection, commands).await,
            };
            if answer.as_ref().is_err_and(is_of_the_connection) {
                self.forget().await;
            }
            answer
        });
        let answer = match bounded.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => {
                // A connection that does not answer may be cut off without knowing it.
                self.forget().await;
                Err(format!("no answer within {:?}", self.timeout))
            }
        };
        self.note(answer, started.elapsed())
    }

    fn note<T>(&self, answer: Result<T, String>, took: Duration) -> Result<T, SharedStateError> {
        self.metrics.note(answer.is_ok(), took);
        if let Err(error) = &answer
            && !self.is_away.swap(true, Ordering::Relaxed)
        {
            tracing::error!(error, "Redis does not answer, or refuses; requests are put off");
        }
        answer.map_err(SharedStateError::Away)
    }

    async fn connection(&self) -> Result<Connection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        match &self.source {
            Source::Single(client, current) => {
                let mut current = current.lock().await;
                if current.is_none() {
                    *current = Some(client.get_multiplexed_async_connection_with_config(&config).await?);
                    self.metrics.connections.increment(1);
                }
                current.clone().map(Connection::Plain)
            }
            Source::Sentinel(both) => {
                let (client, current) = &mut *both.lock().await;
                if current.is_none() {
                    *current = Some(client.get_async_connection_with_config(&config).await?);
                    self.metrics.connections.increment(1);
                }
                current.clone().map(Connection::Plain)
            }
            Source::Cluster(client, current) => {
                let mut current = current.lock().await;
                if current.is_none() {
                    *current = Some(client.get_async_connection().await?);
                    self.metrics.connections.increment(1);
                }
                current.clone().map(Connection::Cluster)
            }
        }
        .ok_or_else(|| RedisError::from((ErrorKind::Io, "no connection")))
    }

    /// The next call connects anew. Never waits for somebody who is just connecting.
    async fn forget(&self) {
        match &self.source {
            Source::Single(_, current) => drop(current.try_lock().map(|mut current| current.take())),
            Source::Sentinel(both) => drop(both.try_lock().map(|mut both| both.1.take())),
            Source::Cluster(_, current) => drop(current.try_lock().map(|mut current| current.take())),
        }
    }
}

impl Source {
    fn new(target: &RedisTarget, certificates: Option<TlsCertificates>, timeout: Duration) -> Result<Self, RedisError> {
        let address = |(host, port): &(String, u16)| match certificates {
            Some(_) => ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
            None => ConnectionAddr::Tcp(host.clone(), *port),
        };
        let servers: Vec<ConnectionAddr> = target.servers.iter().map(address).collect();
        let Credentials { user, password } = &target.credentials;
        let (user, password) = (given(user), given(password));
        Ok(match &target.way {
            RedisWay::Single => {
                let mut redis = RedisConnectionInfo::default().set_db(target.db);
                redis = user.into_iter().fold(redis, RedisConnectionInfo::set_username);
                redis = password.into_iter().fold(redis, RedisConnectionInfo::set_password);
                let first = servers.into_iter().next();
                let server = first.ok_or_else(|| RedisError::from((ErrorKind::InvalidClientConfig, "no server")))?;
                let info = server.into_connection_info()?.set_redis_settings(redis);
                let client = match certificates {
                    Some(certificates) => Client::build_with_tls(info, certificates)?,
                    None => Client::open(info)?,
                };
                Self::Single(client, Mutex::default())
            }
            RedisWay::Sentinel { service, credentials } => {
                let mut builder = SentinelClientBuilder::new(servers, service, SentinelServerType::Master)?
                    .set_client_to_redis_db(target.db);
                builder = user.into_iter().fold(builder, SentinelClientBuilder::set_client_to_redis_username);
                builder = password.into_iter().fold(builder, SentinelClientBuilder::set_client_to_redis_password);
                let (user, password) = (given(&credentials.user), given(&credentials.password));
                builder = user.into_iter().fold(builder, SentinelClientBuilder::set_client_to_sentinel_username);
                builder = password.into_iter().fold(builder, SentinelClientBuilder::set_client_to_sentinel_password);
                if let Some(certificates) = certificates {
                    builder = builder
                        .set_client_to_redis_tls_mode(TlsMode::Secure)
                        .set_client_to_redis_certificates(certificates.clone())
                        .set_client_to_sentinel_certificates(certificates);
                }
                Self::Sentinel(Mutex::new((builder.build()?, None)))
            }
            RedisWay::Cluster => {
                let mut builder =
                    ClusterClientBuilder::new(servers).connection_timeout(timeout).response_timeout(timeout).retries(2);
                builder = user.into_iter().fold(builder, ClusterClientBuilder::username);
                builder = password.into_iter().fold(builder, ClusterClientBuilder::password);
                if let Some(certificates) = certificates {
                    builder = builder.tls(TlsMode::Secure).certs(certificates);
                }
                Self::Cluster(builder.build()?, Mutex::default())
            }
        })
    }
}

fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn read_certificates(files: &TlsFiles) -> Result<TlsCertificates, SharedStateError> {
    let read = |name: &str, path: &Path| {
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let problem = |error| format!("shared_state.url: {name}: cannot read {}: {error}", path.display());
        fs::read(path).map(Some).map_err(|error| SharedStateError::Mistaken(problem(error)))
    };
    let own = read("ssl-cert", &files.certificate)?.zip(read("ssl-key", &files.key)?);
    let client_tls = own.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
    Ok(TlsCertificates { client_tls, root_cert: read("ssl-ca", &files.ca)? })
}

/// An answer as what it should be.
pub(super) fn read<T: FromRedisValue>(value: Value) -> Result<T, SharedStateError> {
    from_redis_value(value).map_err(|error| SharedStateError::Failed(error.to_string()))
}

/// Also a server that is no longer the master, or still loads, has to be looked up anew.
fn is_of_the_connection(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_io_error()
        || matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN"))
}

async fn pipelined(connection: &mut impl ConnectionLike, commands: Vec<Cmd>) -> Result<Vec<Value>, RedisError> {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline.query_async(connection).await
}

async fn side_by_side(connection: &ClusterConnection, commands: Vec<Cmd>) -> Result<Vec<Value>, RedisError> {
    let mut answers = vec![Value::Nil; commands.len()];
    let mut tasks = JoinSet::new();
    for (index, command) in commands.into_iter().enumerate() {
        let mut connection = connection.clone();
        tasks.spawn(async move { (index, connection.req_packed_command(&command).await) });
    }
    while let Some(joined) = tasks.join_next().await {
        let (index, answer) = joined.map_err(|_| RedisError::from((ErrorKind::Io, "a command was cut off")))?;
        answers[index] = answer?;
    }
    Ok(answers)
}
