//! What has to be there after an import, and what users find who come back.

use std::{collections::BTreeMap, net::TcpListener};

use gim_business::BusinessSettings;
use gim_config::{listen::Endpoint, service::Running as _};
use gim_logic::{
    LogicSettings,
    store::{Limit, Store},
};
use gim_proto::{
    ResultCode,
    business::{
        AuthRequest, SignInRequest, user_ext_service_client::UserExtServiceClient,
        user_int_service_client::UserIntServiceClient,
    },
    connect::{self, MessageStatus},
    logic::{
        Device, GroupGetRequest, PushToUsersRequest, SyncRequest, group_int_service_client::GroupIntServiceClient,
        message_ext_service_client::MessageExtServiceClient, message_int_service_client::MessageIntServiceClient,
    },
    metadata,
};
use tonic::transport::Channel;

use crate::fixture::{self, FIRST_USER, Fixture, GROUP, InboxEntry, MESSAGES, ODD, USERS};

/// All that was in gim is there once.
pub async fn is_whole(logic: &LogicSettings, business: &BusinessSettings, fixture: &Fixture) {
    let logic = gim_logic::open_offline(logic.clone()).await.unwrap();
    for (&user_id, expected) in &fixture.inboxes {
        assert_eq!(&inbox(&logic.store, user_id).await, expected, "user {user_id}");
        assert_eq!(logic.store.inboxes.newest_seq(user_id).await.unwrap(), fixture.newest_seq(user_id));
        assert_eq!(logic.store.inboxes.largest_ack(user_id).await.unwrap(), fixture.acks[&user_id]);
    }
    assert_eq!(count(&logic.store, "message").await, MESSAGES);
    assert_eq!(count(&logic.store, "device").await, USERS + 1);
    assert_eq!(count(&logic.store, "group_member").await, 3);
    let group = logic.store.groups.get(GROUP).await.unwrap().unwrap();
    assert_eq!((group.profile.name.as_str(), group.member_count, group.admin_count), (ODD, 3, 1));
    logic.close().await;
    let business = gim_business::open_offline(business.clone()).await.unwrap();
    let user_ids: Vec<u64> = (FIRST_USER..FIRST_USER + USERS).collect();
    let found: BTreeMap<u64, String> = business.phone_numbers(&user_ids).await.unwrap().into_iter().collect();
    assert_eq!(found, user_ids.iter().map(|&user_id| (user_id, fixture::phone_number(user_id))).collect());
    business.close().await;
}

async fn count(store: &Store, table: &str) -> u64 {
    let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    let count: i64 = sqlx::query_scalar(sql).fetch_one(&store.database.reader).await.unwrap();
    count as u64
}

async fn inbox(store: &Store, user_id: u64) -> BTreeMap<u64, InboxEntry> {
    let (mut inbox, mut after) = (BTreeMap::new(), 0);
    loop {
        let page = store.inboxes.page(user_id, after, Limit::messages(1_000)).await.unwrap();
        let Some((last, _)) = page.last() else { return inbox };
        after = *last;
        for (seq, message) in page {
            let place = if message.status == MessageStatus::MsExpired as i32 {
                InboxEntry::Nothing
            } else {
                let created_at_s = message.created_at_ms / 1_000;
                assert_eq!(gim_logic::domain::message_id::time_ms(message.id) / 1_000, created_at_s);
                InboxEntry::Message { created_at_s, command: message.command, content: message.content.to_vec() }
            };
            assert!(inbox.insert(seq, place).is_none(), "seq {seq} twice");
        }
    }
}

/// Users sign in with what they have, get what they have not, once, and go on.
pub async fn users_go_on(mut logic: LogicSettings, mut business: BusinessSettings, fixture: &Fixture) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    logic.grpc.listen = Endpoint::new(&format!("127.0.0.1:{port}"));
    logic.admin.listen = Endpoint::default();
    business.grpc.listen = Endpoint::new("127.0.0.1:0");
    business.admin.listen = Endpoint::default();
    business.logic.endpoint = Endpoint::new(&format!("http://127.0.0.1:{port}")).into();
    let business = gim_business::start(business).await.unwrap();
    logic.business.endpoint = Endpoint::new(&format!("http://{}", business.grpc_address())).into();
    let logic = gim_logic::start(logic).await.unwrap();
    let to_business = channel(&format!("http://{}", business.grpc_address())).await;
    let to_logic = channel(&format!("http://{}", logic.grpc_address())).await;

    let user_id = FIRST_USER + 4;
    let newest_seq = fixture.newest_seq(user_id);
    syncs_from(to_logic.clone(), user_id, newest_seq - 120, newest_seq).await;
    tokens_hold(to_business.clone()).await;
    signs_in_with_a_code(to_business).await;
    let group = GroupIntServiceClient::new(to_logic.clone()).get(GroupGetRequest { group_id: GROUP }).await.unwrap();
    assert_eq!(group.into_inner().group.unwrap().name, ODD);
    let push = PushToUsersRequest {
        user_ids: vec![user_id],
        command: 1_000,
        content: b"new"[..].into(),
        is_persist: true,
        ..PushToUsersRequest::default()
    };
    MessageIntServiceClient::new(to_logic.clone()).push_to_users(push).await.unwrap();
    let new = sync(to_logic.clone(), user_id, newest_seq).await;
    assert_eq!(
        new.iter().map(|message| (message.seq, &message.content[..])).collect::<Vec<_>>(),
        [(newest_seq + 1, &b"new"[..])]
    );
    logic.stop().await;
    business.stop().await;
}

async fn channel(address: &str) -> Channel {
    Channel::from_shared(address.to_owned()).unwrap().connect().await.unwrap()
}

async fn sync(to_logic: Channel, user_id: u64, seq: u64) -> Vec<connect::Message> {
    let request = SyncRequest { seq, ..SyncRequest::default() };
    let request = metadata::signed(request, user_id, fixture::device_of(user_id), &fixture::token(user_id));
    MessageExtServiceClient::new(to_logic).sync(request).await.unwrap().into_inner().messages
}

/// As a client of gim does: it keeps the largest seq that it saw, and asks for what comes after.
async fn syncs_from(to_logic: Channel, user_id: u64, mut seq: u64, newest_seq: u64) {
    let mut seqs = Vec::new();
    let expected: Vec<u64> = (seq + 1..=newest_seq).collect();
    loop {
        let page = sync(to_logic.clone(), user_id, seq).await;
        let Some(last) = page.last() else { break };
        seq = last.seq;
        seqs.extend(page.iter().map(|message| message.seq));
    }
    assert_eq!(seqs, expected);
}

async fn tokens_hold(to_business: Channel) {
    let mut users = UserIntServiceClient::new(to_business);
    for user_id in FIRST_USER..FIRST_USER + USERS {
        let token = fixture::token(user_id);
        let auth = users.auth(AuthRequest { user_id, device_id: fixture::device_of(user_id), token }).await;
        let code = auth.map_or_else(|status| ResultCode::of_status(&status), |_| ResultCode::Ok);
        let expected = if user_id == FIRST_USER + 9 { ResultCode::SignInAgain } else { ResultCode::Ok };
        assert_eq!(code, expected, "user {user_id}");
    }
}

async fn signs_in_with_a_code(to_business: Channel) {
    let user_id = FIRST_USER + 9;
    let device_id = fixture::device_of(user_id);
    let request = SignInRequest {
        phone_number: fixture::phone_number(user_id),
        code: "123456".into(),
        device: Some(Device { id: device_id, ..Device::default() }),
        ..SignInRequest::default()
    };
    let signed_in = UserExtServiceClient::new(to_business.clone()).sign_in(request).await.unwrap().into_inner();
    assert_eq!((signed_in.is_new, signed_in.user_id, signed_in.device_id), (false, user_id, device_id));
    let auth = AuthRequest { user_id, device_id, token: signed_in.token };
    UserIntServiceClient::new(to_business).auth(auth).await.unwrap();
}
