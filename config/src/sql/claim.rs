//! What one process at a time may be to a database server: a name that it holds there, by a connection of its own.
//!
//! The server gives a name back when the connection ends, at once where the process was killed, and after the lease where it was cut
//! off. SQLite needs none of it: the folder of its file has a lock ([`DatabaseSettings::folder`](super::DatabaseSettings::folder)). Owned by one Tokio task, which looks every second whether the name is still
//! ours and takes it again where the server forgot it. A server that gives no such names is used all the same.

use std::time::{Duration, Instant};

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tokio::time::{sleep, timeout};

use super::{
    Database, Dialect, errors,
    migrations::lock_name,
    pool,
    settings::{database_name, percent_decoded},
};

const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A server that does not answer in this time is away, and says nothing of names.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Where a former process may still have the name.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// A name on the server of a database.
#[derive(Debug)]
pub struct Claim {
    url: String,
    name: String,
    /// Names that nobody may have beside it.
    rivals: Vec<String>,
    lease: Duration,
    connection: Option<AnyConnection>,
}

/// Whose a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Ours,
    Others,
}

/// Another process has the name, or one that may not be beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another process has it")]
pub struct Taken;

impl Database {
    /// Takes a name of this database, as `logic 1`, beside which nobody may have any of `rivals`. It may be another's for as long as
    /// `patience` lasts. None on SQLite.
    pub async fn claim(
        &self,
        name: &str,
        rivals: &[String],
        lease: Duration,
        patience: Duration,
    ) -> Result<Option<Claim>, Taken> {
        if self.dialect == Dialect::Sqlite {
            return Ok(None);
        }
        let url = self.source.url().to_owned();
        let database = percent_decoded(database_name(&url));
        let on_server = |name: &str| lock_name(name, &database);
        let (name, rivals) = (on_server(name), rivals.iter().map(|name| on_server(name)).collect());
        let mut claim = Claim { url, name, rivals, lease, connection: None };
        let began = Instant::now();
        loop {
            match claim.holder().await {
                Ok(Holder::Ours) => return Ok(Some(claim)),
                Ok(Holder::Others) if began.elapsed() >= patience => return Err(Taken),
                Ok(Holder::Others) => sleep(RETRY_INTERVAL).await,
                // A server that is away, or has no room for one more connection, is asked again later.
                Err(error) if errors::is_outage(&error) => return Ok(Some(claim)),
                Err(error) => {
                    tracing::debug!(%error, "the database server gives no names");
                    return Ok(None);
                }
            }
        }
    }
}

impl Claim {
    /// Whether the server said that it is ours, and not only that it is away.
    pub fn is_held(&self) -> bool {
        self.connection.is_some()
    }

    /// Holds it, and returns once another process has it for longer than a lease.
    pub async fn keep(mut self) -> Taken {
        let mut lost: Option<Instant> = None;
        loop {
            sleep(LOOK_INTERVAL).await;
            match self.holder().await {
                Ok(Holder::Others) => {
                    if lost.get_or_insert_with(Instant::now).elapsed() > self.lease + self.lease / 2 {
                        return Taken;
                    }
                }
                Ok(Holder::Ours) => lost = None,
                Err(error) => tracing::debug!(%error, "the database server does not say whose a name is"),
            }
        }
    }

    /// Takes it where it is nobody's.
    async fn holder(&mut self) -> Result<Holder, sqlx::Error> {
        let asked = timeout(ANSWER_MAX, self.ask()).await.unwrap_or_else(|_| Err(pool::no_answer(ANSWER_MAX)));
        if asked.as_ref().ok() != Some(&Holder::Ours) {
            self.connection = None;
        }
        asked
    }

    // As texts: a server that has no room for another prepared statement answers all the same.
    async fn ask(&mut self) -> Result<Holder, sqlx::Error> {
        let is_new = self.connection.is_none();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(AnyConnection::connect(&self.url).await?),
        };
        if is_new {
            let lease_s = self.lease.as_secs().max(2);
            connection.execute(AssertSqlSafe(format!("SET SESSION wait_timeout = {lease_s}"))).await?;
        }
        let name = &self.name;
        let take =
            format!("SELECT CAST(IF(IS_USED_LOCK('{name}') = CONNECTION_ID(), 1, GET_LOCK('{name}', 0)) AS SIGNED)");
        let got: Option<i64> = connection.fetch_one(AssertSqlSafe(take)).await?.try_get(0)?;
        if got != Some(1) {
            return Ok(Holder::Others);
        }
        if is_new && !self.rivals.is_empty() {
            let used: Vec<String> = self.rivals.iter().map(|rival| format!("IS_USED_LOCK('{rival}')")).collect();
            let first = format!("SELECT CAST(COALESCE({}, 0) AS SIGNED)", used.join(", "));
            let rival: i64 = connection.fetch_one(AssertSqlSafe(first)).await?.try_get(0)?;
            if rival != 0 {
                return Ok(Holder::Others);
            }
        }
        Ok(Holder::Ours)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::migrate::Migrator;

    use super::*;
    use crate::{sql::DatabaseSettings, testing};

    const LEASE: Duration = Duration::from_secs(2);

    async fn open(url: &str) -> Database {
        let settings = DatabaseSettings { url: url.to_owned(), ..DatabaseSettings::default() };
        Database::open(&settings, "".as_ref(), "", &[(Dialect::Mysql, Migrator::DEFAULT)]).await.unwrap()
    }

    async fn take(database: &Database, name: &str, rivals: &[&str]) -> Result<Option<Claim>, Taken> {
        let rivals: Vec<String> = rivals.iter().map(|rival| (*rival).to_owned()).collect();
        database.claim(name, &rivals, LEASE, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn a_name_is_one_process_at_a_time_and_is_free_when_that_ends() {
        let (here, elsewhere) = (open(&testing::mysql_database()).await, open(&testing::mysql_database()).await);
        let first = take(&here, "node 1", &["node"]).await.unwrap().expect("a claim");
        let _in_another_database = take(&elsewhere, "node 1", &["node"]).await.unwrap().expect("a claim");
        let _other = take(&here, "node 2", &["node"]).await.unwrap().expect("a claim");
        assert_eq!(here.claim("node 1", &[], LEASE, Duration::ZERO).await.unwrap_err(), Taken);
        let alone = here.claim("node", &["node 1".to_owned(), "node 2".to_owned()], LEASE, Duration::ZERO).await;
        assert_eq!(alone.unwrap_err(), Taken);
        drop(first);
        take(&here, "node 1", &["node"]).await.unwrap().expect("given back by the server");
    }

    #[tokio::test]
    async fn whoever_lost_a_name_takes_it_again_or_hears_that_it_is_anothers() {
        let database = open(&testing::mysql_database()).await;
        let mut first = take(&database, "node 1", &[]).await.unwrap().expect("a claim");
        first.connection = None;
        while first.holder().await.unwrap() != Holder::Ours {
            sleep(RETRY_INTERVAL).await;
        }
        first.connection = None;
        let second = tokio::spawn(take(&database, "node 1", &[]).await.unwrap().expect("a claim").keep());
        assert_eq!(timeout(Duration::from_secs(20), first.keep()).await, Ok(Taken));
        second.abort();
    }
}
