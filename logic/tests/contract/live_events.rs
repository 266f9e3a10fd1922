//! What is told and not stored: who comes and goes, who is refused, which devices are new; to the webhook and to streams.

use gim_logic::settings::EventKind;
use gim_proto::logic::{Device, DeviceSaveRequest, DeviceType, ListOnlineRequest, SubscribeEventsRequest};
use serde_json::{Value, json};

use super::{
    event_streams::{Follower, allow_streams},
    events::{send, telling},
};
use crate::support::{
    Server,
    conn::Conn,
    receiver::{EventReceiver, until},
    stop,
};

/// Sign-ins that are refused while nobody is told of them.
const FLOOD: usize = 20;

fn all_live() -> Vec<String> {
    EventKind::LIVE.iter().map(|kind| kind.name().to_owned()).collect()
}

async fn register(server: &Server) -> u64 {
    let device = Device { r#type: DeviceType::DtWeb as i32, brand: "Acme".into(), ..Device::default() };
    let request = DeviceSaveRequest { device: Some(device), user_id: 0 };
    server.device_int().save(request).await.unwrap().into_inner().device_id
}

/// Does one of each, and says what is to be told of it.
async fn do_one_of_each(server: &Server) -> Vec<(&'static str, Value)> {
    let device_id = register(server).await;
    let mut conn = Conn::attach(server, "conn-1", 1).await;
    let refused = conn.try_sign_in(7, device_id, 1, "stolen").await;
    assert_eq!(refused.code, 10_000);
    conn.sign_in(7, device_id, 2).await;
    // Of a connection that is the device's no longer nobody hears.
    conn.sign_in(7, device_id, 3).await;
    conn.sign_out(7, device_id, 2).await;
    conn.sign_out(7, device_id, 3).await;
    until(async || {
        let request = ListOnlineRequest { user_ids: vec![7] };
        let online = server.device_int().list_online(request).await.unwrap().into_inner();
        online.devices.is_empty().then_some(())
    })
    .await;
    let device = device_id.to_string();
    let online =
        json!({ "user_id": "7", "device_id": device, "device_type": DeviceType::DtWeb as i32, "node": "conn-1" });
    vec![
        (
            "device.registered",
            json!({ "device_id": device, "device_type": DeviceType::DtWeb as i32, "brand": "Acme", "model": "" }),
        ),
        (
            "sign_in.refused",
            json!({ "user_id": "7", "device_id": device, "code": 10_000, "reason": "please sign in again" }),
        ),
        ("user.online", online.clone()),
        ("user.online", online),
        ("user.offline", json!({ "user_id": "7", "device_id": device, "node": "conn-1" })),
    ]
}

#[tokio::test]
async fn what_is_not_stored_is_told_to_the_webhook_and_to_streams() {
    let (receiver, _listening) = EventReceiver::start(0).await;
    let server = telling(&receiver, |settings| {
        allow_streams(settings);
        settings.events.kinds = EventKind::all().collect();
    })
    .await;
    let request = SubscribeEventsRequest { types: all_live(), ..SubscribeEventsRequest::default() };
    let mut follower = Follower::of(&server, request).await.unwrap();
    let expected = do_one_of_each(&server).await;
    send(&server, 7, 0).await;
    follower.until(5).await;
    let streamed: Vec<_> = follower
        .events
        .iter()
        .map(|event| (event.r#type.as_str(), serde_json::from_str(&event.data).unwrap()))
        .collect();
    assert_eq!(streamed, expected);
    let events = receiver.once(|events| events.len() >= 6).await;
    let (stored, live): (Vec<_>, Vec<_>) = events.iter().partition(|event| event["type"] == "message.stored");
    let live: Vec<_> = live.iter().map(|event| (event["type"].as_str().unwrap(), event["data"].clone())).collect();
    assert_eq!((stored.len(), live), (1, expected));
    stop(server).await;
}

#[tokio::test]
async fn nobody_is_told_what_was_not_asked_for() {
    let (receiver, _listening) = EventReceiver::start(0).await;
    let server = telling(&receiver, allow_streams).await;
    let mut of_what_is_stored = Follower::from(&server, None).await;
    let types = vec!["user.offline".to_owned()];
    let request = SubscribeEventsRequest { types, ..SubscribeEventsRequest::default() };
    let mut of_who_goes = Follower::of(&server, request).await.unwrap();
    do_one_of_each(&server).await;
    send(&server, 7, 0).await;
    of_who_goes.until(1).await;
    of_what_is_stored.until(1).await;
    assert_eq!(of_who_goes.events[0].r#type, "user.offline");
    assert_eq!(of_what_is_stored.events[0].r#type, "message.stored");
    let events = receiver.once(|events| !events.is_empty()).await;
    assert!(events.iter().all(|event| event["type"] == "message.stored"), "{events:?}");
    stop(server).await;
}

#[tokio::test]
async fn what_is_told_once_and_not_taken_does_not_come_again() {
    let (receiver, _listening) = EventReceiver::start(1).await;
    let server = telling(&receiver, |settings| {
        settings.events.kinds = EventKind::LIVE.to_vec();
        settings.events.live_queue_max = 2;
    })
    .await;
    let first = register(&server).await.to_string();
    until(async || (receiver.calls() > 0).then_some(())).await;
    receiver.fail_each(0);
    let last = register(&server).await.to_string();
    let of = |event: &Value, device_id: &str| event["data"]["device_id"] == device_id;
    let events = receiver.once(|events| events.iter().any(|event| of(event, &last))).await;
    assert!(!events.iter().any(|event| of(event, &first)), "{events:?}");
    stop(server).await;
}

#[tokio::test]
async fn a_kind_that_fills_its_places_is_counted_and_leaves_others_theirs() {
    let (receiver, _listening) = EventReceiver::start(0).await;
    let server = telling(&receiver, |settings| {
        settings.events.kinds = EventKind::LIVE.to_vec();
        settings.events.live_queue_max = 2;
        settings.events.webhook_timeout_ms = 20_000;
    })
    .await;
    // While a call is under way everything waits, as far as there are places.
    let held = receiver.hold().await;
    register(&server).await;
    until(async || (receiver.calls() > 0).then_some(())).await;
    let device_id = register(&server).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    for _ in 0..FLOOD {
        assert_eq!(conn.try_sign_in(7, device_id, 1, "stolen").await.code, 10_000);
    }
    conn.sign_in(7, device_id, 2).await;
    drop(held);
    let events = receiver.once(|events| events.iter().any(|event| event["type"] == "user.online")).await;
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((count("user.online"), count("sign_in.refused")), (1, 2), "{events:?}");
    stop(server).await;
}
