//! What logic meets on its way to Redis: TLS, passwords, mistakes in the settings, outages.

use std::net::TcpListener;

use gim_config::{Readiness, testing::Authority};

use super::*;

async fn private_redis(options: String) -> PrivateServer {
    tokio::task::spawn_blocking(move || PrivateServer::redis_with(&options)).await.unwrap()
}

async fn server_at(url: &str) -> Server {
    server_with(StubBusiness::start().await, |settings| settings.shared_state.url = url.into()).await
}

/// Why a start on this URL ends.
async fn refusal_of(url: &str) -> String {
    let (data, business) = (tempfile::tempdir().unwrap(), StubBusiness::start().await);
    let mut settings = support::settings(data.path(), &business);
    settings.shared_state.url = url.into();
    let started = soon(gim_logic::start(settings)).await;
    started.err().unwrap_or_else(|| panic!("{url} is taken")).to_string()
}

async fn assert_serves(server: &Server) {
    let mut conn = Conn::attach(server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    assert!(is_online(server, 7).await);
}

async fn becomes(readiness: &Readiness, missing: &[&str]) {
    soon(async {
        while readiness.missing() != missing {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn redis_is_reached_by_tls_with_a_certificate_of_ours() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ((certificate, key), (own, own_key)) = (authority.issue(), authority.issue_with("client", |_| {}));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ca = authority.ca();
    let files = [("cert-file", &certificate), ("key-file", &key), ("ca-cert-file", &ca)];
    let files: String = files.iter().map(|(name, path)| format!(" --tls-{name} {}", path.display())).collect();
    let private = private_redis(format!("--tls-port {port}{files}")).await;

    let trusting = format!("rediss://localhost:{port}?ssl-ca={}", ca.display());
    let shown = format!("{trusting}&ssl-cert={}&ssl-key={}", own.display(), own_key.display());
    assert_serves(&server_at(&shown).await).await;
    let mistake = "(ssl-ca, ssl-cert and the host in shared_state.url)";
    let doubting = shown.replace(&*ca.to_string_lossy(), &stranger.ca().to_string_lossy());
    for url in [&trusting, &doubting, &shown.replace("localhost", "127.0.0.1")] {
        let refused = refusal_of(url).await;
        assert!(refused.ends_with(mistake), "{url}: {refused}");
    }
    let plain = refusal_of(&format!("redis://127.0.0.1:{port}")).await;
    assert!(plain.ends_with("(it speaks TLS: write rediss in place of redis)"), "{plain}");
    let encrypted = refusal_of(&private.url.replace("redis://", "rediss://")).await;
    assert!(encrypted.ends_with("(it speaks no TLS: write redis in place of rediss)"), "{encrypted}");
}

#[tokio::test]
async fn a_mistake_in_the_url_of_redis_ends_the_start_with_a_sentence() {
    let private = private_redis(String::new()).await;
    let client = redis::Client::open(private.url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut user = redis::cmd("ACL");
    user.arg(&["SETUSER", "gim", "on", ">p@ss:/?%", "allkeys", "allcommands"]);
    user.query_async::<()>(&mut connection).await.unwrap();
    let url = |user: &str, rest: &str| format!("{}/{rest}", private.url.replace("://", &format!("://{user}@")));
    assert_serves(&server_at(&url("gim:p%40ss%3A%2F%3F%25", "3")).await).await;
    let wrong = refusal_of(&url("gim:secret", "")).await;
    assert!(wrong.ends_with("(the user and the password in shared_state.url)"), "{wrong}");
    assert!(!wrong.contains("secret"), "{wrong}");
    let beyond = refusal_of(&url("gim:p%40ss%3A%2F%3F%25", "99")).await;
    assert!(beyond.ends_with("(the number of the database in shared_state.url)"), "{beyond}");
}

#[tokio::test]
async fn a_redis_of_another_kind_than_the_url_says_ends_the_start() {
    let private = private_redis(String::new()).await;
    let refused = refusal_of(&private.url.replace("redis://", "redis+cluster://")).await;
    assert!(refused.ends_with("write redis:// in place of redis+cluster://)"), "{refused}");
    let watched = tokio::task::spawn_blocking(PrivateServer::sentinel).await.unwrap();
    let (_, sentinel) = watched.url.split_once("://").unwrap();
    let sentinel = sentinel.split(['/', ',', '?']).next().unwrap();
    let refused = refusal_of(&format!("redis://{sentinel}")).await;
    assert!(refused.ends_with("is this the port of a Redis, and not of a Sentinel?)"), "{refused}");
    let refused = refusal_of(&format!("redis+cluster://{sentinel}")).await;
    assert!(refused.ends_with("write redis:// in place of redis+cluster://)"), "{refused}");
}

#[tokio::test]
async fn a_redis_that_is_away_is_waited_for_and_named_by_readiness() {
    let mut private = private_redis(String::new()).await;
    let url = private.url.clone();
    private.kill();
    let (server, ()) = tokio::join!(server_at(&url), async { private.start_again() });
    assert_serves(&server).await;
    let readiness = server.logic.readiness().clone();
    becomes(&readiness, &[]).await;
    private.kill();
    becomes(&readiness, &["redis"]).await;
    private.start_again();
    becomes(&readiness, &[]).await;
}
