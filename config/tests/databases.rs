//! What a service meets on its way to MySQL: TLS, ways to log in, missing rights, and outages.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::time::Duration;

use gim_config::{
    Readiness,
    sql::{self, Database, DatabaseError, DatabaseSettings, Dialect},
    testing::{self, Authority, PrivateServer},
};
use rsa::{
    Oaep, PrivateKey,
    pkcs8::{EncodePublicKey as _, LineEnding},
};
use sha1::Sha1;
use sqlx::{
    AnyConnection, AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _,
    migrate::{Migration, MigrationType, Migrator},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const DEADLINE: Duration = Duration::from_secs(20);

fn migrations(versions: std::ops::RangeInclusive<i64>) -> [(Dialect, Migrator); 1] {
    let make = |version| {
        let sql = AssertSqlSafe(format!("CREATE TABLE number_{version} (id BIGINT PRIMARY KEY)")).into_sql_str();
        Migration::new(version, "a table".into(), MigrationType::Simple, sql, false)
    };
    [(Dialect::Mysql, Migrator::with_migrations(versions.map(make).collect()))]
}

async fn open(url: &str) -> Result<Database, DatabaseError> {
    let settings = DatabaseSettings { url: url.into(), ..DatabaseSettings::default() };
    settings.validate().unwrap();
    let migrations = migrations(1..=1);
    let opened = Database::open(&settings, "".as_ref(), "", &migrations);
    tokio::time::timeout(DEADLINE, opened).await.expect("it neither waits nor hangs")
}

async fn refusal(url: &str) -> String {
    open(url).await.expect_err(url).to_string()
}

async fn administer(server: &str, statements: &[&str]) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(server).await.unwrap();
    for statement in statements {
        connection.execute(AssertSqlSafe((*statement).to_owned())).await.unwrap();
    }
}

/// The URL for another user, by the name in the certificate.
fn with_user(server: &str, user: &str, rest: &str) -> String {
    let port = server.rsplit_once(':').unwrap().1;
    format!("mysql://{user}@localhost:{port}/{rest}")
}

#[tokio::test]
async fn tls_is_verified_as_the_url_says_and_a_certificate_of_ours_is_shown() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.issue();
    let ca = authority.ca();
    let files = format!("--ssl-ca={} --ssl-cert={} --ssl-key={}", ca.display(), certificate.display(), key.display());
    let server = PrivateServer::mysql_with(&files);
    let user = "CREATE USER tls@'127.0.0.1' IDENTIFIED BY 'p' REQUIRE X509";
    administer(&server.url, &[user, "GRANT ALL ON *.* TO tls@'127.0.0.1'"]).await;

    let (own, own_key) = authority.issue_with("client", |_| {});
    let shown = format!("&ssl-cert={}&ssl-key={}", own.display(), own_key.display());
    let identity = format!("gim?ssl-mode=VERIFY_IDENTITY&ssl-ca={}", ca.display());
    let database = open(&with_user(&server.url, "tls:p", &format!("{identity}{shown}"))).await.unwrap();
    let (_, cipher): (String, String) =
        sqlx::query_as("SHOW STATUS LIKE 'Ssl_cipher'").fetch_one(&database.reader).await.unwrap();
    assert!(!cipher.is_empty(), "the connections of the pools are encrypted, too");

    let anonymous = refusal(&with_user(&server.url, "tls:p", &identity)).await;
    assert!(anonymous.ends_with("(database.url: user, password and the rights of the user)"), "{anonymous}");
    let doubting = format!("gim?ssl-mode=VERIFY_CA&ssl-ca={}", stranger.ca().display());
    let doubted = refusal(&with_user(&server.url, "root", &doubting)).await;
    assert!(doubted.contains("(database.url: ssl-mode, ssl-ca, and the host that the certificate names)"), "{doubted}");
    let by_another_name = format!("{}/{identity}", server.url);
    let misnamed = refusal(&by_another_name).await;
    assert!(misnamed.contains("the host that the certificate names"), "{misnamed}");
    open(&by_another_name.replace("VERIFY_IDENTITY", "VERIFY_CA")).await.unwrap();
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let server = PrivateServer::mysql_with("--skip-ssl");
    let refused = refusal(&format!("{}/gim?ssl-mode=REQUIRED", server.url)).await;
    assert!(refused.ends_with("(database.url: ssl-mode, ssl-ca, ssl-cert, ssl-key)"), "{refused}");
    open(&format!("{}/gim", server.url)).await.unwrap();
}

#[tokio::test]
async fn a_log_of_statements_ends_the_start() {
    let server = PrivateServer::mysql_with("--log-bin --binlog-format=STATEMENT");
    let refused = refusal(&format!("{}/gim", server.url)).await;
    assert!(refused.contains("its binlog_format is STATEMENT"), "{refused}");
}

#[tokio::test]
async fn a_user_who_may_make_no_tables_is_enough_once_they_are_made() {
    let (url, user) = (testing::mysql_database(), format!("user_{:08x}", rand::random::<u32>()));
    open(&url).await.unwrap();
    let (server, name) = url.rsplit_once('/').unwrap();
    let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO {user}@'%'");
    administer(server, &[&format!("CREATE USER {user}@'%' IDENTIFIED BY 'p'"), &grant]).await;
    let address = server.rsplit_once('@').unwrap().1;
    let settings =
        DatabaseSettings { url: format!("mysql://{user}:p@{address}/{name}"), ..DatabaseSettings::default() };
    let opened = Database::open(&settings, "".as_ref(), "", &migrations(1..=1)).await.unwrap();
    opened.writer.execute("INSERT INTO number_1 VALUES (1)").await.unwrap();
    let newer = Database::open(&settings, "".as_ref(), "", &migrations(1..=2)).await.unwrap_err().to_string();
    assert!(newer.ends_with("(make the database, or give the user the rights that OPERATIONS.md names)"), "{newer}");
    let wrong = refusal(&settings.url.replace(":p@", ":wrong@")).await;
    assert!(wrong.ends_with("(database.url: user, password and the rights of the user)"), "{wrong}");
}

async fn becomes(readiness: &Readiness, missing: &[&str]) {
    let seen = async {
        while readiness.missing() != missing {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, seen).await.unwrap_or_else(|_| panic!("{:?}", readiness.missing()));
}

#[tokio::test]
async fn a_database_that_is_dead_or_refuses_us_makes_unready_meanwhile() {
    let mut server = PrivateServer::mysql();
    administer(&server.url, &["CREATE USER u@'%' IDENTIFIED BY 'p'", "GRANT ALL ON *.* TO u@'%'"]).await;
    let database = open(&with_user(&server.url, "u:p", "gim")).await.unwrap();
    let readiness = Readiness::default();
    let part = readiness.part("database");
    part.set(true);
    let watch = database.watch(part);
    server.kill();
    becomes(&readiness, &["database"]).await;
    server.start_again();
    becomes(&readiness, &[]).await;
    // Connections of before stay as they are, but not over a restart.
    administer(&server.url, &["ALTER USER u@'%' IDENTIFIED BY 'q'"]).await;
    server.kill();
    server.start_again();
    becomes(&readiness, &["database"]).await;
    administer(&server.url, &["ALTER USER u@'%' IDENTIFIED BY 'p'"]).await;
    becomes(&readiness, &[]).await;
    administer(&server.url, &["DROP DATABASE gim"]).await;
    becomes(&readiness, &["database"]).await;
    watch.abort();
}

#[tokio::test]
async fn a_start_waits_for_a_database_that_is_away_and_asks_again() {
    let mut server = PrivateServer::mysql();
    let url = format!("{}/gim", server.url);
    server.kill();
    let (opened, ()) = tokio::join!(open(&url), async { server.start_again() });
    let database = opened.unwrap();
    server.kill();
    let count =
        async || sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM number_1").fetch_one(&database.reader).await;
    let (asked, ()) = tokio::join!(sql::persevere(count), async { server.start_again() });
    assert_eq!(asked.unwrap(), 0);
    let mistaken = sql::persevere(async || database.reader.execute("SELECT nothing").await).await;
    assert!(mistaken.is_err(), "what will never succeed is not tried again");
}

/// A MySQL 8 whose cache of passwords is cold, as far as a log-in goes: it asks for the password, encrypted for its key.
struct ColdMysql {
    stream: TcpStream,
    key: PrivateKey,
}

const NONCE: &[u8; 20] = b"0123456789abcdefghij";

impl ColdMysql {
    async fn send(&mut self, sequence: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        self.stream.write_all(&[&length[..3], &[sequence], payload].concat()).await.unwrap();
    }

    async fn receive(&mut self) -> Option<Vec<u8>> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(payload)
    }

    /// Returns the password, having let its owner in.
    async fn log_in(&mut self) -> Vec<u8> {
        // PLUGIN_AUTH and SECURE_CONNECTION, PROTOCOL_41, TRANSACTIONS, CONNECT_WITH_DB; no TLS.
        let mut greeting = b"\x0a8.4.0\0\x01\0\0\0".to_vec();
        greeting.extend([&NONCE[..8], b"\0\x08\xa2\xff\x02\0\x08\0\x15", &[0; 10], &NONCE[8..], b"\0"].concat());
        greeting.extend(b"caching_sha2_password\0");
        self.send(0, &greeting).await;
        self.receive().await.unwrap();
        self.send(2, b"\x01\x04").await;
        assert_eq!(self.receive().await.unwrap(), [2], "it asks for the key");
        let public = self.key.to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
        self.send(4, &[b"\x01", public.as_bytes()].concat()).await;
        let encrypted = self.receive().await.unwrap();
        let mut password = self.key.decrypt(Oaep::<Sha1>::new(), &encrypted).unwrap();
        password.iter_mut().zip(NONCE.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        self.send(6, OK).await;
        password
    }
}

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

#[tokio::test]
async fn a_password_that_mysql_8_forgot_is_sent_encrypted_for_its_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let key = PrivateKey::new(&mut rand::rng(), 1024).unwrap();
        let mut server = ColdMysql { stream: listener.accept().await.unwrap().0, key };
        let password = server.log_in().await;
        while server.receive().await.is_some() {
            server.send(1, OK).await;
        }
        password
    });
    sqlx::any::install_default_drivers();
    let connection = AnyConnection::connect(&format!("mysql://u:secret%21@{address}/gim")).await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(server.await.unwrap(), b"secret!\0");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_stopped_server_is_told_its_address_and_why() {
    let mut private = tokio::task::spawn_blocking(PrivateServer::mysql).await.unwrap();
    let url = format!("{}/gim", private.url);
    let address = private.url.rsplit_once('@').unwrap().1.to_owned();
    let database = open(&url).await.unwrap();
    let watch = database.watch(Readiness::default().part("database"));
    private.stop();
    let is_said = async {
        loop {
            let said = database.reader.execute("SELECT 1").await.unwrap_err().to_string();
            if said.contains(&address) && said.contains("Connection refused") {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, is_said).await.expect("it is said");
    tokio::task::block_in_place(|| private.start_again());
    let is_back = async { while database.reader.execute("SELECT 1").await.is_err() {} };
    tokio::time::timeout(DEADLINE, is_back).await.expect("it is back");
    watch.abort();
}
