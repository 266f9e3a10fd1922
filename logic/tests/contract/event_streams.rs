//! Streams of events: whoever follows them misses nothing, whatever becomes of the stream.

use std::collections::BTreeMap;

use gim_logic::{LogicSettings, store::Store};
use gim_proto::{
    ResultCode,
    connect::{SendRequest, send_request::Target},
    logic::{Event, EventBatch, RecallRequest, SubscribeEventsRequest, subscribe_events_request::From},
};
use serde_json::Value;
use tonic::{Status, Streaming};

use super::events::{send, send_many, signed};
use crate::support::{Server, business::StubBusiness, receiver::until, refusal, server_with, soon, stop};

pub async fn streaming(change: impl FnOnce(&mut LogicSettings)) -> Server {
    server_with(StubBusiness::start().await, |settings| {
        allow_streams(settings);
        change(settings);
    })
    .await
}

pub fn allow_streams(settings: &mut LogicSettings) {
    settings.events.streams_max = 3;
    settings.conversation.read_delay_ms = 0;
}

/// A subscriber, as far as he is.
pub struct Follower {
    pub stream: Streaming<EventBatch>,
    pub cursor: u64,
    pub events: Vec<Event>,
}

impl Follower {
    /// Follows everything; what comes first is a cursor.
    pub async fn from(server: &Server, from: Option<From>) -> Self {
        Self::of(server, SubscribeEventsRequest { from, ..SubscribeEventsRequest::default() }).await.unwrap()
    }

    pub async fn of(server: &Server, request: SubscribeEventsRequest) -> Result<Self, Status> {
        let stream = soon(server.event_int().subscribe(request)).await?.into_inner();
        let mut follower = Self { stream, cursor: 0, events: Vec::new() };
        follower.take().await?;
        assert!(follower.cursor > 0 && follower.events.is_empty());
        Ok(follower)
    }

    pub async fn take(&mut self) -> Result<(), Status> {
        let batch = soon(self.stream.message()).await?.expect("a stream ends with a reason");
        assert!(batch.cursor >= self.cursor);
        let newest = batch.events.iter().rfind(|event| event.r#type.starts_with("message."));
        assert!(newest.is_none_or(|event| event.id == batch.cursor), "an id is a cursor");
        (self.cursor, _) = (batch.cursor, self.events.extend(batch.events));
        Ok(())
    }

    pub async fn until(&mut self, count: usize) {
        while self.events.len() < count {
            self.take().await.unwrap();
        }
        assert_eq!(self.events.len(), count);
    }

    /// How the stream ends.
    pub async fn end(&mut self) -> Status {
        soon(async {
            loop {
                if let Err(status) = self.take().await {
                    return status;
                }
            }
        })
        .await
    }
}

/// The ids of the messages of each sender, as they came.
pub fn by_sender(events: &[Event]) -> BTreeMap<u64, Vec<u64>> {
    assert!(events.windows(2).all(|pair| pair[0].id < pair[1].id), "in order, each once");
    let mut found: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.r#type == "message.stored") {
        let data: Value = serde_json::from_str(&event.data).unwrap();
        let number = |name: &str| data[name].as_str().unwrap().parse::<u64>().unwrap();
        assert_eq!(number("message_id"), event.id);
        assert_eq!(data["user_ids"], serde_json::json!([(number("sender_id") + 1).to_string()]));
        found.entry(number("sender_id")).or_default().push(event.id);
    }
    found
}

#[tokio::test]
async fn followers_get_everything_once_each_from_where_it_was() {
    let server = streaming(|settings| settings.events.batch_events_max = 7).await;
    let user_ids = [101, 103, 105, 107];
    let before = send_many(&server, &user_ids, 0..5).await;
    let mut from_now = Follower::from(&server, None).await;
    let after = send_many(&server, &user_ids, 5..25).await;
    from_now.until(80).await;
    assert_eq!(by_sender(&from_now.events), after);
    let (cursor, seen) = (from_now.cursor, from_now.events);
    drop(from_now.stream);
    let later = send_many(&server, &user_ids, 25..30).await;
    let (mut goes_on, mut from_time) = tokio::join!(
        Follower::from(&server, Some(From::Cursor(cursor))),
        Follower::from(&server, Some(From::TimeMs(1))),
    );
    tokio::join!(goes_on.until(20), from_time.until(120));
    assert_eq!(by_sender(&goes_on.events), later);
    let all = user_ids.map(|user_id| (user_id, [&before, &after, &later].map(|ids| ids[&user_id].clone()).concat()));
    assert_eq!(by_sender(&from_time.events), BTreeMap::from(all));
    let mut within = Follower::from(&server, Some(From::Cursor(seen[10].id))).await;
    within.until(80 - 11 + 20).await;
    assert_eq!(within.events[..69], seen[11..], "the same event is the same again");
    stop(server).await;
}

#[tokio::test]
async fn a_follower_gets_the_types_that_were_asked_for() {
    let server = streaming(|_| ()).await;
    let request =
        SubscribeEventsRequest { types: vec!["message.recalled".into()], ..SubscribeEventsRequest::default() };
    let mut follower = Follower::of(&server, request).await.unwrap();
    let message_id = send(&server, 7, 0).await;
    server.message_ext().recall(signed(7, RecallRequest { message_id })).await.unwrap();
    follower.until(1).await;
    let data: Value = serde_json::from_str(&follower.events[0].data).unwrap();
    assert_eq!(data, serde_json::json!({ "message_id": message_id.to_string(), "sender_id": "7", "user_ids": ["8"] }));
    stop(server).await;
}

#[tokio::test]
async fn who_takes_nothing_is_ended_and_goes_on_from_the_last_cursor() {
    let server = streaming(|settings| {
        settings.events.streams_max = 1;
        settings.events.stream_patience_ms = 2_000;
        settings.events.batch_events_max = 1;
    })
    .await;
    let mut slow = Follower::from(&server, None).await;
    let mut sent = Vec::new();
    for number in 0..60 {
        let request = SendRequest {
            target: Some(Target::UserId(8)),
            content: vec![b'x'; 50_000].into(),
            client_msg_id: number.to_string(),
            ..SendRequest::default()
        };
        sent.push(server.message_ext().send(signed(7, request)).await.unwrap().into_inner().message_id);
    }
    // The one place is free when the slow one was ended.
    let goes_on = async |cursor: u64| {
        let request = SubscribeEventsRequest { from: Some(From::Cursor(cursor)), ..SubscribeEventsRequest::default() };
        until(async || Follower::of(&server, request.clone()).await.ok()).await
    };
    let mut all = goes_on(slow.cursor).await;
    all.until(60).await;
    assert_eq!(by_sender(&all.events), BTreeMap::from([(7, sent)]));
    drop(all.stream);
    let (code, text) = refusal::<()>(Err(slow.end().await));
    assert_eq!(code, ResultCode::TooManyRequests);
    assert!(text.contains("go on from the last cursor"), "{text}");
    assert!(slow.events.len() < 60);
    let mut again = goes_on(slow.cursor).await;
    again.until(60 - slow.events.len()).await;
    slow.events.append(&mut again.events);
    assert_eq!(slow.events, all.events);
    stop(server).await;
}

#[tokio::test]
async fn a_follower_behind_retention_is_told_the_oldest_cursor() {
    let server = streaming(|_| ()).await;
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(send(&server, 7, number).await);
    }
    let store = Store::new(server.database().await);
    store.walks.delete_up_to(ids[4]).await.unwrap();
    store.walks.delete_up_to(ids[2]).await.unwrap();
    store.database.close().await;
    let mut behind = Follower::from(&server, Some(From::Cursor(ids[3]))).await;
    let status = behind.end().await;
    assert_eq!((ResultCode::of_status(&status), behind.events), (ResultCode::BadRequest, Vec::new()));
    let oldest = ResultCode::oldest_cursor(&status).unwrap();
    assert!(oldest == ids[4] && status.message().ends_with(&oldest.to_string()), "{}", status.message());
    let mut follower = Follower::from(&server, Some(From::Cursor(oldest))).await;
    follower.until(5).await;
    assert_eq!(by_sender(&follower.events), BTreeMap::from([(7, ids[5..].to_vec())]));
    stop(server).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_so_is_one_too_many() {
    let server = streaming(|settings| settings.events.streams_max = 1).await;
    let asked = async |request: SubscribeEventsRequest| {
        let (code, text) = refusal(server.event_int().subscribe(request).await);
        format!("{} {text}", code.number())
    };
    let request = SubscribeEventsRequest::default();
    let unknown = SubscribeEventsRequest { types: vec!["message.eaten".into()], ..request.clone() };
    assert_eq!(asked(unknown).await, "10001 types: there is no `message.eaten`");
    let unknown = SubscribeEventsRequest { group_kinds: vec![7], ..request.clone() };
    assert_eq!(asked(unknown).await, "10001 group_kinds: there is no 7");
    for from in
        [From::Cursor(0), From::Cursor(u64::MAX), From::Cursor(u64::MAX >> 1), From::TimeMs(-1), From::TimeMs(i64::MAX)]
    {
        let text = asked(SubscribeEventsRequest { from: Some(from), ..request.clone() }).await;
        assert!(text.starts_with("10001 cursor: ") || text.starts_with("10001 time_ms: "), "{from:?}: {text}");
    }
    let mut open = Follower::from(&server, None).await;
    assert_eq!(asked(request.clone()).await, "10003 1 streams of events are open (events.streams_max)");
    let (status, ()) = tokio::join!(open.end(), stop(server));
    assert_eq!(ResultCode::of_status(&status), ResultCode::TryAgainLater);
    let server = streaming(|settings| settings.events.streams_max = 0).await;
    let (code, _) = refusal(server.event_int().subscribe(request).await);
    assert_eq!(code, ResultCode::NotAllowed);
    stop(server).await;
}
