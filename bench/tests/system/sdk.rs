//! The SDK in Rust against the three services: by TCP, by WebSocket and by Locate, over a restart of all of them.

use std::time::Duration;

use gim_client::{
    Client, Event, Events, Message, Notice, Options, Sent, StartAt, State, Target, notice_of,
    proto::logic::Group,
    services::{ConversationFields, HistoryPlace},
    text_of,
};
use gim_proto::business::SignInReply;
use tokio::time::timeout;

use crate::server::{DEADLINE, Server};

/// A client, and what its app saw.
pub struct App {
    name: &'static str,
    pub user_id: u64,
    client: Client,
    events: Events,
    said: Vec<Message>,
    inbox_seq: u64,
}

impl App {
    pub fn start(
        server: &Server,
        name: &'static str,
        identity: &SignInReply,
        options: impl Fn(Options) -> Options,
    ) -> Self {
        let token = identity.token.clone();
        let base = Options::new(identity.user_id, identity.device_id).start_at(StartAt::First);
        let base = base.answer_timeout(Duration::from_secs(5)).get_token(move |_| {
            let token = token.clone();
            async { Ok(Some(token)) }
        });
        server.runtime.block_on(async {
            let (client, events) = Client::new(options(base)).unwrap();
            client.start().await;
            Self { name, user_id: identity.user_id, client, events, said: Vec::new(), inbox_seq: 0 }
        })
    }

    /// The first event of which this is something.
    pub async fn until<T>(&mut self, what: &str, mut find: impl FnMut(&Event) -> Option<T>) -> T {
        let search = async {
            loop {
                let event = self.events.next().await.expect("the client is there");
                if let Event::Message(message) = &event {
                    if message.seq > 0 {
                        assert_eq!(message.seq, self.inbox_seq + 1, "{}: {message:?}", self.name);
                        self.inbox_seq = message.seq;
                    }
                    if message.from.is_some() {
                        self.said.push(message.clone());
                    }
                }
                if let Some(found) = find(&event) {
                    return found;
                }
            }
        };
        let found = timeout(DEADLINE, search).await;
        found.unwrap_or_else(|_| panic!("{}: not within {DEADLINE:?}: {what}", self.name))
    }

    /// What somebody said, now or before.
    pub async fn until_text(&mut self, text: &str) -> Message {
        if let Some(message) = self.said.iter().find(|message| text_of(message) == text) {
            return message.clone();
        }
        let found = self.until(text, |event| match event {
            Event::Message(message) if message.from.is_some() && text_of(message) == text => Some(message.clone()),
            _ => None,
        });
        found.await
    }

    pub async fn until_live(&mut self) {
        self.until("it is live", |event| matches!(event, Event::State(State::Live)).then_some(())).await;
    }

    /// Sends, and waits until it is stored.
    pub async fn say(&mut self, target: Target, text: &str) -> Sent {
        let id = self.client.send(target, text.to_owned()).await.unwrap();
        let sent = self.until(text, |event| match event {
            Event::Sent(sent) if sent.client_msg_id == id => Some(sent.clone()),
            Event::Failed { message, .. } => panic!("{text} is refused: {message}"),
            _ => None,
        });
        sent.await
    }
}

#[test]
fn the_sdk_chats_over_each_way_in_and_over_a_restart() {
    let mut server = Server::start();
    let [alice, bob, phone] =
        ["13800000011", "13800000012", "13800000011"].map(|number| server.business_sign_in(number));
    let host = server.tcp_address().ip();
    let locate = format!("http://{}/locate", server.clients_address());
    let mut of_alice = App::start(&server, "Alice", &alice, |options| options.url(format!("tcp://{host}:8002")));
    let mut of_bob = App::start(&server, "Bob", &bob, |options| options.url(format!("ws://{host}:8003/ws")));
    let mut of_phone = App::start(&server, "Alice's phone", &phone, |options| options.locate(&locate));
    let runtime = server.runtime.handle().clone();
    runtime.block_on(async {
        for app in [&mut of_alice, &mut of_bob, &mut of_phone] {
            app.until_live().await;
        }
        let text = "hello, Bob <b>\u{200b}\u{7}مرحبا 👋</b>";
        let sent = of_alice.say(Target::User(of_bob.user_id), text).await;
        for app in [&mut of_alice, &mut of_bob, &mut of_phone] {
            let message = app.until_text(text).await;
            assert_eq!((message.message_id, message.is_own), (sent.message_id, app.user_id == alice.user_id));
        }
        // Longer than what fits into one frame of TCP or TLS.
        of_bob.say(Target::User(of_alice.user_id), &"x".repeat(60 * 1024)).await;
        of_alice.until_text(&"x".repeat(60 * 1024)).await;
        of_phone.until_text(&"x".repeat(60 * 1024)).await;
        talk_of_conversations(&mut of_alice, &mut of_bob, sent.message_id).await;
        talk_in_groups(&mut of_alice, &mut of_bob).await;
        talk_in_a_room(&mut of_alice, &mut of_bob).await;
    });

    server.restart();
    runtime.block_on(async {
        of_bob.client.nudge().await;
        of_bob.say(Target::User(of_alice.user_id), "after the restart").await;
        for app in [&mut of_alice, &mut of_phone] {
            app.client.nudge().await;
            app.until_text("after the restart").await;
        }
        // Entered again by itself.
        of_bob.say(Target::Room(5), "still here").await;
        of_bob.until_text("still here").await;
    });
    let texts = |app: &App| app.said.iter().filter(|one| one.room_id == 0).map(text_of).collect::<Vec<_>>();
    assert_eq!(texts(&of_alice), texts(&of_phone), "both devices of Alice saw the same");
}

async fn talk_of_conversations(of_alice: &mut App, of_bob: &mut App, message_id: u64) {
    let target = Target::User(of_alice.user_id);
    let listed = of_bob.client.conversations().list().await.unwrap();
    assert_eq!(listed.iter().map(|one| one.target).collect::<Vec<_>>(), [target]);
    assert!(listed[0].is_content_left_out && listed[0].newest.is_some(), "{listed:?}");
    assert_eq!(listed[0].preview, format!("{}…", "x".repeat(99)), "what is left out has its line");
    of_bob.client.conversations().read(target, message_id).await.unwrap();
    let mark =
        of_alice.until("Bob reads", |event| if let Event::Read(mark) = event { Some(mark.clone()) } else { None });
    let mark = mark.await;
    assert_eq!((mark.user_id, mark.message_id), (of_bob.user_id, message_id));
    let fields = ConversationFields { is_pinned: Some(true), ..ConversationFields::default() };
    of_bob.client.conversations().set(target, fields).await.unwrap();
    assert!(of_bob.client.conversations().list().await.unwrap()[0].is_pinned);

    let history = of_bob.client.history();
    let page = history.page_of(target, HistoryPlace::Around(message_id), 10, true).await.unwrap();
    assert!(page.messages.iter().any(|message| message.message_id == message_id), "{page:?}");
    assert_eq!(page.extent.unwrap().count, 2);
    let refused = history.recall(message_id).await.unwrap_err();
    assert_eq!(refused.code, 10006, "it is Alice's: {refused}");
    assert_eq!(of_bob.client.users().get(of_alice.user_id).await.unwrap().unwrap().user_id, of_alice.user_id);
    assert!(of_bob.client.friends().list().await.unwrap().is_empty());
}

async fn talk_in_groups(of_alice: &mut App, of_bob: &mut App) {
    for (kind, name) in [(0, "lunch"), (1, "town")] {
        let group = Group { name: name.to_owned(), kind, ..Group::default() };
        let group_id = of_alice.client.groups().create(group, &[of_bob.user_id]).await.unwrap();
        of_alice.say(Target::Group(group_id), &format!("noon in {name}?")).await;
        let message = of_bob.until_text(&format!("noon in {name}?")).await;
        assert_eq!((message.group_id, message.group_seq > 0), (group_id, kind == 1));
        of_bob.say(Target::Group(group_id), &format!("yes, {name}")).await;
        of_alice.until_text(&format!("yes, {name}")).await;
        assert_eq!(of_bob.client.groups().members(group_id).await.unwrap().len(), 2);
        let refused = of_alice.client.groups().get(1).await.unwrap_err();
        assert_eq!(refused.code, 10201, "{refused}");
        of_bob.client.groups().leave(group_id).await.unwrap();
        let removed = of_alice.until("Bob leaves", |event| match event {
            Event::Message(message) => notice_of(message).filter(|one| matches!(one, Notice::MembersRemoved { .. })),
            _ => None,
        });
        let Notice::MembersRemoved { user_ids, .. } = removed.await else { unreachable!() };
        assert_eq!(user_ids, [of_bob.user_id]);
    }
    assert_eq!(of_alice.client.groups().list().await.unwrap().len(), 2);
}

async fn talk_in_a_room(of_alice: &mut App, of_bob: &mut App) {
    for app in [&mut *of_alice, &mut *of_bob] {
        app.client.enter_room(5, false).await;
        app.until("it is in the room", |event| matches!(event, Event::Room { is_entered: true, .. }).then_some(()))
            .await;
    }
    of_bob.say(Target::Room(5), "hello, room").await;
    for app in [&mut *of_alice, &mut *of_bob] {
        assert_eq!(app.until_text("hello, room").await.room_id, 5);
    }
}
