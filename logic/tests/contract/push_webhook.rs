//! The webhook that wakes devices: signed calls, each until it is taken, and what is handed out once whatever happens to the process.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use gim_config::{sql::Database, webhook::Secret};
use gim_logic::{LogicSettings, store};
use gim_proto::{
    connect::{MessageCommand, SendRequest, send_request::Target},
    content::Text,
    logic::{
        Device, DeviceSaveRequest, device_int_service_client::DeviceIntServiceClient,
        message_ext_service_client::MessageExtServiceClient,
    },
};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::transport::Channel;

use super::{crash::Process, group::harness::signed};
use crate::support::{
    self, Server,
    business::StubBusiness,
    receiver::{SECRET, until},
    server_with, stop,
};

/// Takes pushes; what one says decides what becomes of its call.
#[derive(Debug, Clone, Default)]
pub struct PushReceiver(Arc<Received>);

#[derive(Debug, Default)]
struct Received {
    url: Mutex<String>,
    /// Of each call its id, its body, and whether it was taken.
    calls: Mutex<Vec<(String, Value, bool)>>,
    /// Whether calls are answered as their pushes say.
    is_kind: Mutex<bool>,
}

impl PushReceiver {
    pub async fn start() -> (Self, JoinHandle<()>) {
        let receiver = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *receiver.0.url.lock().unwrap() = format!("http://{}/hook", listener.local_addr().unwrap());
        let routes = Router::new().route("/hook", post(take)).with_state(receiver.clone());
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        (receiver, task)
    }

    pub fn told_by(&self, settings: &mut LogicSettings) {
        let pushes = &mut settings.offline_push;
        pushes.webhook = self.0.url.lock().unwrap().clone();
        pushes.webhook_secret = SECRET.into();
        pushes.private_addresses = true;
        pushes.coalesce_ms = 20;
    }

    /// From now on it takes everything.
    pub fn be_kind(&self) {
        *self.0.is_kind.lock().unwrap() = true;
    }

    fn calls(&self) -> Vec<(String, Value, bool)> {
        self.0.calls.lock().unwrap().clone()
    }

    /// All pushes that say so, as (id, badge, whether it was taken).
    pub fn pushes(&self, preview: &str) -> Vec<(String, u64, bool)> {
        let read = |(_, body, is_taken): &(String, Value, bool)| {
            let data = body["data"].as_array().unwrap().iter().filter(|push| push["preview"] == preview);
            data.map(|push| (push["id"].as_str().unwrap().to_owned(), push["badge"].as_u64().unwrap(), *is_taken))
                .collect::<Vec<_>>()
        };
        self.calls().iter().flat_map(read).collect()
    }

    /// Waits until so many pushes said so.
    pub async fn until(&self, preview: &str, count: usize) -> Vec<(String, u64, bool)> {
        until(async || Some(self.pushes(preview)).filter(|pushes| pushes.len() >= count)).await
    }
}

async fn take(State(receiver): State<PushReceiver>, headers: HeaderMap, body: Bytes) -> (StatusCode, Json<Value>) {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp").parse().unwrap());
    assert_eq!(Secret::new(SECRET).unwrap().signature(&id, timestamp, &body), header("webhook-signature"));
    let call: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(call["type"], "push.handed_out");
    let is_kind = *receiver.0.is_kind.lock().unwrap();
    let says = |text: &str| call["data"].as_array().unwrap().iter().any(|push| push["preview"] == text);
    let fails = !is_kind && ["busy", "hang", "refuse"].into_iter().any(says);
    receiver.0.calls.lock().unwrap().push((id, call.clone(), !fails || says("hang")));
    match fails {
        true if says("hang") => std::future::pending().await,
        true if says("refuse") => (StatusCode::GONE, Json(Value::Null)),
        true => (StatusCode::SERVICE_UNAVAILABLE, Json(Value::Null)),
        false if says("nobody") => (StatusCode::OK, Json(json!({ "unregistered_ids": [call["data"][0]["id"]] }))),
        false => (StatusCode::OK, Json(Value::Null)),
    }
}

async fn webhook_server(receiver: &PushReceiver, change: impl FnOnce(&mut LogicSettings)) -> Server {
    server_with(StubBusiness::start().await, |settings| {
        receiver.told_by(settings);
        change(settings);
    })
    .await
}

#[tokio::test]
async fn the_webhook_says_of_which_push_ids_nobody_is_reached() {
    let (receiver, _listening) = PushReceiver::start().await;
    let server = webhook_server(&receiver, |_| ()).await;
    server.give_push_id(8, 80, "phone").await;
    server.say_to(7, 8, "one").await;
    let (id, badge, _) = receiver.until("one", 1).await.remove(0);
    assert_eq!((id.ends_with("-8-50"), badge), (true, 1));
    server.say_to(7, 8, "nobody").await;
    server.is_forgotten(8).await;
    server.say_to(7, 9, "refuse").await;
    receiver.until("refuse", 1).await;
    server.say_to(7, 9, "the end").await;
    receiver.until("the end", 1).await;
    assert_eq!(receiver.pushes("refuse").len(), 1, "what is refused is not said again");
    stop(server).await;
}

#[tokio::test]
async fn a_call_without_an_answer_comes_again_as_it_was() {
    let (receiver, _listening) = PushReceiver::start().await;
    let server = webhook_server(&receiver, |settings| settings.offline_push.timeout_ms = 500).await;
    server.say_to(7, 8, "hang").await;
    receiver.until("hang", 1).await;
    server.say_to(7, 8, "behind it").await;
    server.say_to(7, 9, "to another").await;
    receiver.until("to another", 1).await;
    receiver.until("hang", 3).await;
    receiver.be_kind();
    let calls = receiver.calls();
    let of_hang: Vec<_> = calls.iter().filter(|(_, body, _)| body["data"][0]["preview"] == "hang").collect();
    let with_others = calls.iter().filter(|(id, ..)| *id == of_hang[0].0).count();
    assert_eq!(with_others, of_hang.len(), "no other call has its id");
    assert!(of_hang.iter().all(|(id, body, _)| (id, body) == (&of_hang[0].0, &of_hang[0].1)), "{of_hang:?}");
    receiver.until("behind it", 1).await;
    stop(server).await;
}

#[tokio::test]
async fn what_a_device_has_when_a_service_is_back_is_not_handed_out() {
    let (receiver, _listening) = PushReceiver::start().await;
    let server = webhook_server(&receiver, |_| ()).await;
    server.give_push_id(8, 80, "phone").await;
    let message_id = server.say_to(7, 8, "busy").await.message_id;
    receiver.until("busy", 1).await;
    server.acknowledge_all(8).await;
    receiver.be_kind();
    // The walk moves on when it is seen to.
    let database = server.database().await;
    let sql = "SELECT cursor_id FROM message_walk WHERE name = 'offline_push'";
    let cursor = async || sqlx::query_scalar::<_, i64>(sql).fetch_one(&database.reader).await.unwrap();
    until(async || (cursor().await >= message_id as i64).then_some(())).await;
    let pushes = receiver.pushes("busy");
    assert!(pushes.iter().all(|(.., is_taken)| !is_taken), "{pushes:?}");
    database.close().await;
    stop(server).await;
}

/// Says something by a process that may be killed.
async fn say(channel: &Channel, to: u64, text: &str) {
    let content = Text { text: text.into(), ..Text::default() }.encode_to_vec().into();
    let request = SendRequest {
        target: Some(Target::UserId(to)),
        command: MessageCommand::McText as i32,
        content,
        client_msg_id: text.into(),
    };
    MessageExtServiceClient::new(channel.clone()).send(signed(7, request)).await.unwrap();
}

#[tokio::test]
async fn a_kill_at_any_step_has_no_push_handed_out_twice_and_loses_calls_alone() {
    kill_at_every_step(false).await;
}

/// Kills whoever hands out; the same node goes on when it is started again, or another one that was there before.
pub async fn kill_at_every_step(with_another: bool) {
    let (receiver, _listening) = PushReceiver::start().await;
    let (data, business) = (tempfile::tempdir().unwrap(), StubBusiness::start().await);
    let mut settings = support::settings(data.path(), &business);
    receiver.told_by(&mut settings);
    settings.link.lease_ms = 1_000;
    settings.offline_push.timeout_ms = 60_000;
    settings.offline_push.unacknowledged_s = 3_600;
    let (for_process, folder) = (settings.clone(), data.path().to_owned());
    let process = tokio::task::spawn_blocking(move || Process::start(&for_process, &folder)).await.unwrap();
    let channel = process.channel().await;
    let branch_push_id = "phone".to_owned();
    let device = Some(Device { id: 110, r#type: 2, branch_push_id, ..Device::default() });
    DeviceIntServiceClient::new(channel.clone()).save(DeviceSaveRequest { device, user_id: 11 }).await.unwrap();
    let mut conn = process.connect().await;
    conn.sign_in(11, 110, 1_100).await;
    say(&channel, 8, "taken").await;
    receiver.until("taken", 1).await;
    let database = Database::open(&settings.database, data.path(), "logic.db", &store::migrations()).await.unwrap();
    let mut next = settings.clone();
    if with_another {
        (next.node, next.node_number) = ("logic-2".into(), 2);
    }
    next.offline_push.unacknowledged_s = 1;
    let another = match with_another {
        true => Some(support::start(tempfile::tempdir().unwrap(), StubBusiness::start().await, next.clone()).await),
        false => None,
    };

    say(&channel, 9, "hang").await;
    receiver.until("hang", 1).await;
    say(&channel, 11, "vanished").await;
    say(&channel, 10, "busy").await;
    receiver.until("busy", 3).await;
    // Its claim is given up, and the next try is a while away.
    let sql = "SELECT COUNT(*) FROM offline_push WHERE user_id = 10";
    let claimed = async || sqlx::query_scalar::<_, i64>(sql).fetch_one(&database.reader).await.unwrap();
    until(async || (claimed().await == 0).then_some(())).await;
    database.close().await;
    say(&channel, 12, "just stored").await;
    drop(process);

    receiver.be_kind();
    let server = match another {
        Some(another) => another,
        None => support::start(data, business, next).await,
    };
    for text in ["busy", "vanished", "just stored"] {
        until(async || receiver.pushes(text).iter().any(|(.., is_taken)| *is_taken).then_some(())).await;
    }
    server.say_to(7, 13, "the end").await;
    receiver.until("the end", 1).await;
    for text in ["taken", "hang", "busy", "vanished", "just stored"] {
        let taken = receiver.pushes(text).into_iter().filter(|(.., is_taken)| *is_taken).count();
        assert_eq!(taken, 1, "{text}");
    }
    stop(server).await;
}

#[tokio::test]
async fn a_log_in_the_place_of_services_takes_pushes() {
    let server = server_with(StubBusiness::that_wakes().await, |settings| {
        settings.offline_push.log = true;
        settings.offline_push.coalesce_ms = 20;
    })
    .await;
    let database = server.database().await;
    server.say_to(7, 8, "into the log").await;
    // What was handed over is claimed, and passed over when the walk has moved on.
    let count = async |sql: &'static str| sqlx::query_scalar::<_, i64>(sql).fetch_one(&database.reader).await.unwrap();
    until(async || (count("SELECT COUNT(*) FROM offline_push").await == 1).then_some(())).await;
    until(async || (count("SELECT COUNT(*) FROM offline_push").await == 0).then_some(())).await;
    assert!(server.business.state.pushes.lock().unwrap().is_empty(), "the business is not asked");
    database.close().await;
    stop(server).await;
}
