//! Stores: what outlives a restart, and what happens when one fails.

use gim_client::{
    About, Event, MemoryStore, Message, SqliteStore, Store, Target,
    core::{Cursors, PendingSend, Remembered},
    storage::StoreFuture,
    text_of,
};

use super::stand_in::{kind_server, listen, options, started, until, within};

async fn next_text(events: &mut gim_client::Events) -> String {
    until(events, "a message", |event| if let Event::Message(message) = event { Some(text_of(&message)) } else { None })
        .await
}

#[tokio::test]
async fn with_a_file_nothing_comes_twice_and_what_was_not_sent_goes_out_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("client.sqlite");
    let (listener, nowhere) = listen().await;
    drop(listener);
    let store = SqliteStore::open(&path).await.unwrap();
    let (client, events) = started(options(&nowhere).store(store.clone())).await;
    let id = client.send(Target::User(8), "from the first run").await.unwrap();
    within("it is stored", async {
        while store.clone().load().await.unwrap().outbox.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(events);
    store.close().await;

    let (server, url) = kind_server().await;
    server.lock().await.store_in_inbox("one".into(), false);
    let store = SqliteStore::open(&path).await.unwrap();
    let (_client, mut events) = started(options(&url).store(store.clone())).await;
    let (mut sent, mut texts) = (None, Vec::new());
    until(&mut events, "the send of the first run", |event| {
        match event {
            Event::Sent(told) => sent = Some(told.client_msg_id),
            Event::Message(message) => texts.push(text_of(&message)),
            _ => {}
        }
        (sent.is_some() && texts.len() == 2).then_some(())
    })
    .await;
    assert_eq!((sent.as_deref(), &texts[..]), (Some(&*id), &["one".to_owned(), "from the first run".to_owned()][..]));
    let shown = store.messages(Target::User(8), None, 50).await.unwrap();
    assert_eq!(shown.iter().map(text_of).collect::<Vec<_>>(), ["from the first run"]);
    drop(events);
    store.close().await;

    server.lock().await.store_in_inbox("two".into(), false);
    let store = SqliteStore::open(&path).await.unwrap();
    assert!(store.clone().load().await.unwrap().outbox.is_empty());
    let (_client, mut events) = started(options(&url).store(store)).await;
    assert_eq!(next_text(&mut events).await, "two");
}

#[tokio::test]
async fn a_file_belongs_to_one_client_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("client.sqlite");
    let first = SqliteStore::open(&path).await.unwrap();
    assert!(SqliteStore::open(&path).await.is_err());
    first.close().await;
    SqliteStore::open(&path).await.unwrap();
}

#[tokio::test]
async fn what_is_stored_is_what_came_and_a_recall_takes_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path().join("client.sqlite")).await.unwrap();
    let from = Some(gim_client::Sender { user_id: 8, device_id: 80, nickname: "Ann".into(), ..Default::default() });
    let message = Message {
        message_id: 3,
        command: 1,
        content: "oops".into(),
        seq: 1,
        from,
        to_user_id: 7,
        ..Default::default()
    };
    let cursors = Cursors { inbox: Some(1), groups: [(9, 4)].into() };
    assert_eq!(store.apply(vec![message.clone()], &cursors).await.unwrap(), std::slice::from_ref(&message));
    assert!(store.apply(vec![message.clone()], &cursors).await.unwrap().is_empty(), "it is known");
    assert_eq!(store.messages(Target::User(8), None, 50).await.unwrap(), std::slice::from_ref(&message));
    assert_eq!(store.conversations().await.unwrap(), [(Target::User(8), message)]);
    let status = gim_client::MessageStatus::Recalled;
    let recall = Message { message_id: 3, command: 1, seq: 2, status, ..Default::default() };
    assert_eq!(store.apply(vec![recall.clone()], &cursors).await.unwrap(), [recall]);
    let shown = store.messages(Target::User(8), Some(2), 50).await.unwrap();
    assert_eq!((&shown[0].content[..], shown[0].status), (&b""[..], status));
    assert_eq!(
        store.load().await.unwrap(),
        Remembered { cursors, outbox: Vec::new(), delivered: vec!["3 recalled".into()] }
    );
    store.forget(Target::User(8)).await.unwrap();
    assert!(store.messages(Target::User(8), None, 50).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_sent_just_before_the_app_left_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, nowhere) = listen().await;
    drop(listener);
    let store = SqliteStore::open(folder.path().join("client.sqlite")).await.unwrap();
    let (client, events) = started(options(&nowhere).store(store.clone())).await;
    for number in 0..100 {
        client.send(Target::User(8), number.to_string()).await.unwrap();
    }
    drop((client, events));
    within("all are stored", async {
        while store.clone().load().await.unwrap().outbox.len() < 100 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_conversation_whose_numbers_were_given_twice_is_listed_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path().join("client.sqlite")).await.unwrap();
    let from = Some(gim_client::Sender { user_id: 8, ..Default::default() });
    let [old, new] = [3, 4].map(|message_id| Message { message_id, seq: 1, from: from.clone(), ..Message::default() });
    let mut cursors = Cursors { inbox: Some(1), groups: [(9, 4), (10, 1)].into() };
    store.apply(vec![old], &cursors).await.unwrap();
    cursors.groups = [(10, 2)].into();
    store.apply(vec![new.clone()], &cursors).await.unwrap();
    assert_eq!(store.conversations().await.unwrap(), [(Target::User(8), new)]);
    assert_eq!(store.load().await.unwrap().cursors, cursors, "the one that is gone as well as the one that moved");
}

#[tokio::test]
async fn no_id_is_new_each_time_and_no_receiver_is_no_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path().join("client.sqlite")).await.unwrap();
    let cursors = Cursors { inbox: Some(4), ..Cursors::default() };
    let of = |user_id| Some(gim_client::Sender { user_id, ..Default::default() });
    let nameless = [1, 2].map(|seq| Message { seq, from: of(8), ..Message::default() });
    assert_eq!(store.apply(nameless.to_vec(), &cursors).await.unwrap(), nameless);
    let placeless = [
        Message { message_id: 3, seq: 3, from: of(7), is_own: true, ..Message::default() },
        Message { message_id: 4, seq: 4, from: of(0), ..Message::default() },
    ];
    assert_eq!(store.apply(placeless.to_vec(), &cursors).await.unwrap(), placeless);
    assert_eq!(store.conversations().await.unwrap(), []);
}

/// A disk that is full.
struct FullStore(MemoryStore);

impl Store for FullStore {
    fn load(&mut self) -> StoreFuture<'_, Remembered> {
        self.0.load()
    }

    fn apply<'a>(&'a mut self, _messages: Vec<Message>, _cursors: &'a Cursors) -> StoreFuture<'a, Vec<Message>> {
        Box::pin(async { Err("the disk is full".into()) })
    }

    fn remember_send<'a>(&'a mut self, send: &'a PendingSend) -> StoreFuture<'a, ()> {
        self.0.remember_send(send)
    }

    fn forget_send<'a>(&'a mut self, client_msg_id: &'a str) -> StoreFuture<'a, ()> {
        self.0.forget_send(client_msg_id)
    }
}

#[tokio::test]
async fn when_storing_fails_the_app_is_told_once_and_sees_all_messages() {
    let (server, url) = kind_server().await;
    for number in 0..20 {
        server.lock().await.store_in_inbox(number.to_string().into(), false);
    }
    let (_client, mut events) = started(options(&url).store(FullStore(MemoryStore))).await;
    let (mut failures, mut texts) = (0, Vec::new());
    until(&mut events, "all messages", |event| {
        match event {
            Event::Error { about: About::Storage, message } => {
                assert_eq!(message, "the disk is full");
                failures += 1;
            }
            Event::Message(message) => texts.push(text_of(&message)),
            _ => {}
        }
        (texts.len() == 20).then_some(())
    })
    .await;
    assert_eq!((failures, texts), (1, (0..20).map(|number| number.to_string()).collect()));
}
