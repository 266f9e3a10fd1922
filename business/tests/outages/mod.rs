//! What business does while its database is away, and after.

use gim_config::{
    sql::DatabaseSettings,
    testing::{self, PrivateServer, Proxy},
};
use gim_proto::{
    ResultCode,
    business::{AuthRequest, FriendAddRequest, GetUserRequest, UpdateUserRequest},
};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _};

use crate::rpc::harness::{Phone, Server, code, sign_in_request};

/// Gives up soon.
fn hasty(database: &mut DatabaseSettings) {
    database.acquire_timeout_ms = 1_000;
    database.lock_timeout_ms = 1_000;
    database.statement_timeout_ms = 1_000;
}

async fn on_mysql() -> (Server, Proxy) {
    let mut url = testing::mysql_database();
    let proxy = Proxy::before(&mut url).await;
    let change = |settings: &mut gim_business::BusinessSettings| {
        settings.database.url = url;
        hasty(&mut settings.database);
    };
    (Server::start_with(change).await, proxy)
}

fn rename(phone: &Phone) -> tonic::Request<UpdateUserRequest> {
    phone.ask(UpdateUserRequest { nickname: "new".into(), ..UpdateUserRequest::default() })
}

/// What changes something is put off, and changes nothing.
async fn assert_writes_are_put_off(server: &Server, [alice, bob]: &[Phone; 2]) {
    let add = FriendAddRequest { friend_id: bob.user_id, ..FriendAddRequest::default() };
    let codes = [
        code(server.friends().add(alice.ask(add)).await),
        code(server.users().update_user(rename(alice)).await),
        code(server.users().sign_in(sign_in_request("3")).await),
    ];
    assert_eq!(codes, [ResultCode::TryAgainLater; 3]);
}

/// Everything works again, and shows that what was put off left nothing behind.
async fn assert_it_goes_on(server: &Server, [alice, bob]: &[Phone; 2]) {
    let signed_in = async {
        loop {
            match server.try_sign_in(sign_in_request("3")).await {
                Ok(phone) => break phone,
                Err(status) => assert_eq!(ResultCode::of_status(&status), ResultCode::TryAgainLater),
            }
        }
    };
    let carol = tokio::time::timeout(std::time::Duration::from_secs(20), signed_in).await.expect("it recovers");
    assert!(carol.is_new, "what was put off made no user");
    let seen = server.users().get_user(carol.ask(GetUserRequest { user_id: alice.user_id })).await.unwrap();
    assert_ne!(seen.into_inner().user.unwrap().nickname, "new");
    server.users().update_user(rename(alice)).await.unwrap();
    let open = server.friends().get_requests(bob.ask(())).await.unwrap().into_inner();
    assert!(open.requests.is_empty(), "{open:?}");
    let auth = AuthRequest { user_id: bob.user_id, device_id: bob.device_id, token: bob.token.clone() };
    server.internal().auth(auth).await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_away_puts_calls_off_and_all_goes_on_by_itself() {
    let (server, proxy) = on_mysql().await;
    let phones = [server.sign_in("1").await, server.sign_in("2").await];
    proxy.cut();
    assert_writes_are_put_off(&server, &phones).await;
    let auth = AuthRequest { user_id: 1, device_id: 1, token: "t".into() };
    assert_eq!(code(server.internal().auth(auth).await), ResultCode::TryAgainLater, "and nobody is turned away");
    proxy.mend();
    assert_it_goes_on(&server, &phones).await;
}

#[tokio::test]
async fn a_database_that_hangs_puts_calls_off_in_time() {
    let (server, proxy) = on_mysql().await;
    let phones = [server.sign_in("1").await, server.sign_in("2").await];
    proxy.hang();
    // More at once than there are connections.
    let calls = (0..8).map(|_| {
        let (mut internal, auth) = (server.internal(), AuthRequest { user_id: 1, device_id: 1, token: "t".into() });
        tokio::spawn(async move { code(internal.auth(auth).await) })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), ResultCode::TryAgainLater);
    }
    assert_writes_are_put_off(&server, &phones).await;
    proxy.mend();
    assert_it_goes_on(&server, &phones).await;
}

#[tokio::test]
async fn a_locked_file_puts_writes_off_and_all_goes_on_by_itself() {
    let server = Server::start_with(|settings| hasty(&mut settings.database)).await;
    let phones = [server.sign_in("1").await, server.sign_in("2").await];
    let url = format!("sqlite:{}", server.settings.data_dir.join("business.db").display());
    let mut other = AnyConnection::connect(&url).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    assert_writes_are_put_off(&server, &phones).await;
    let request = phones[0].ask(GetUserRequest { user_id: phones[1].user_id });
    server.users().get_user(request).await.expect("readers go on");
    other.close().await.unwrap();
    assert_it_goes_on(&server, &phones).await;
}

#[tokio::test]
async fn a_mariadb_that_is_read_only_puts_writes_off_and_all_goes_on_by_itself() {
    // Its own, because it is read-only for all; and a user of its own, because root may write even then.
    let private = tokio::task::spawn_blocking(PrivateServer::mysql).await.unwrap();
    sqlx::any::install_default_drivers();
    let mut root = AnyConnection::connect(&private.url).await.unwrap();
    for sql in ["CREATE DATABASE gim", "CREATE USER gim@'%' IDENTIFIED BY 'secret'", "GRANT ALL ON gim.* TO gim@'%'"] {
        root.execute(sql).await.unwrap();
    }
    let url = format!("{}/gim", private.url.replace("root@", "gim:secret@"));
    let server = Server::start_with(|settings| settings.database.url = url).await;
    let phones = [server.sign_in("1").await, server.sign_in("2").await];
    let set = |value: &str| AssertSqlSafe(format!("SET GLOBAL read_only = {value}"));
    root.execute(set("ON")).await.unwrap();
    assert_writes_are_put_off(&server, &phones).await;
    root.execute(set("OFF")).await.unwrap();
    assert_it_goes_on(&server, &phones).await;
}
