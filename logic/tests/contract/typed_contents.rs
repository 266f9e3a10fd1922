//! Typed contents on every way into logic: what is not what its command says is refused by name, and stored nowhere.

use bytes::Bytes;
use gim_config::service::Running as _;
use gim_logic::{
    LogicSettings, clients::word_lists::WordLists, settings::WordFilterSettings, store::Store,
    usecase::listed_words::ListedWords,
};
use gim_proto::{
    ResultCode,
    connect::{Message, MessageCommand, SendRequest, send_request::Target},
    content::Text,
    logic::{
        GetWordsRequest, GroupKind, GroupMessagePush, GroupPushRequest, PushRoomRequest, PushToAllRequest,
        PushToUsersRequest, PutWordsRequest, SendAsRequest, UserMessagePush, WordListKind,
    },
};
use prost::Message as _;

use super::{bad_input::stored, group::harness::signed};
use crate::support::{Server, business::StubBusiness, refusal, server, server_with, soon};

fn send(target: Target, command: i32, content: &Bytes) -> SendRequest {
    let client_msg_id = format!("{target:?} {command} {content:?}").chars().take(60).collect();
    SendRequest { target: Some(target), command, content: content.clone(), client_msg_id }
}

/// What the sender said, without the wrapper.
fn said(message: &Message) -> Bytes {
    let content = message.content.clone();
    match message.is_from_user {
        true if message.group_id == 0 => UserMessagePush::decode(content).unwrap().content,
        true => GroupMessagePush::decode(content).unwrap().content,
        false => content,
    }
}

/// What each way answers to a content, as its code and text; 0 where it is taken.
async fn answers(
    server: &Server,
    group_id: u64,
    command: i32,
    content: &Bytes,
) -> Vec<(&'static str, (ResultCode, String))> {
    let (mut client, mut service) = (server.message_ext(), server.message_int());
    let content = || content.clone();
    let users =
        PushToUsersRequest { user_ids: vec![8], command, content: content(), is_persist: true, ..Default::default() };
    let send_as = SendAsRequest {
        user_id: 7,
        device_id: 70,
        to_user_id: 8,
        command,
        content: content(),
        client_msg_id: format!("as {command}"),
    };
    let room = PushRoomRequest { room_id: 9, command, content: content(), is_persist: true, ..Default::default() };
    let group = GroupPushRequest { group_id, command, content: content(), is_persist: true, ..Default::default() };
    let to = |target| signed(7, send(target, command, &content()));
    let mut answers = Vec::new();
    macro_rules! ask {
        ($way:literal, $call:expr) => {
            let answer = $call.await;
            let is_taken = answer.is_ok();
            answers.push(($way, if is_taken { (ResultCode::Ok, String::new()) } else { refusal(answer) }));
        };
    }
    ask!("to a user", client.send(to(Target::UserId(8))));
    ask!("to a group", client.send(to(Target::GroupId(group_id))));
    ask!("to a room", client.send(to(Target::RoomId(9))));
    ask!("for a user", service.send_as(send_as));
    ask!("of a service to users", service.push_to_users(users));
    ask!(
        "of a service to all",
        service.push_to_all(PushToAllRequest { command, content: content(), ..Default::default() })
    );
    ask!("of a service to a room", server.room_int().push_room(room.clone()));
    ask!("into a room", server.room_ext().push_room(signed(7, room)));
    ask!("of a service to a group", server.group_int().push(group));
    answers
}

#[tokio::test]
async fn what_is_no_content_is_refused_on_every_way_and_stored_nowhere() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    let database = server.database().await;
    let before = stored(&database).await;
    let text = MessageCommand::McText as i32;
    let cases: [(i32, &[u8], &str); 3] =
        [(text, b"\xff\xff", "content: "), (text, b"", "content.text: "), (299, b"", "command: ")];
    for (command, bytes, field) in cases {
        for (way, (code, problem)) in answers(&server, group_id, command, &Bytes::from_static(bytes)).await {
            assert!(code == ResultCode::BadRequest && problem.starts_with(field), "{way}: {code:?} {problem}");
        }
    }
    assert_eq!(stored(&database).await, before);
    database.close().await;
}

#[tokio::test]
async fn a_content_arrives_as_it_was_sent_and_other_bytes_go_on_as_they_are() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    // A field that is not known yet stays as well.
    let mut text = Text { text: "<b>no markup</b>".into(), mentions_all: true, ..Text::default() }.encode_to_vec();
    text.extend(b"\xf8\x07\x01");
    let text = Bytes::from(text);
    for (command, content) in [(MessageCommand::McText as i32, &text), (5000, &Bytes::from_static(b"\xff"))] {
        for (way, answer) in answers(&server, group_id, command, content).await {
            assert_eq!(answer, (ResultCode::Ok, String::new()), "{way}");
        }
        let inbox = server.inbox(8).await;
        let of_kind: Vec<_> = inbox.iter().filter(|message| message.command == command).map(said).collect();
        assert_eq!(of_kind, vec![content.clone(); 5], "two sends, one for a user, and two pushes");
    }
}

#[tokio::test]
async fn words_of_a_list_are_refused_or_covered_for_users_and_for_no_service() {
    let folder = tempfile::tempdir().unwrap();
    let [refuse, mask] = ["refuse", "mask"].map(|name| folder.path().join(name));
    std::fs::write(&refuse, "worstword\n").unwrap();
    std::fs::write(&mask, "badword\n").unwrap();
    let set = |settings: &mut LogicSettings| {
        (settings.word_filter.refuse, settings.word_filter.mask) = (vec![refuse], vec![mask]);
    };
    let server = server_with(StubBusiness::start().await, set).await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    // A field that is not known stays behind a word that is covered, too.
    let unknown = b"\xc2\x3e\x01x";
    let text = |text: &str| {
        let known = Text { text: text.into(), ..Text::default() }.encode_to_vec();
        Bytes::from([&known[..], unknown].concat())
    };
    let command = MessageCommand::McText as i32;
    for (way, (code, problem)) in answers(&server, group_id, command, &text("the Worst\u{200b}Word")).await {
        let is_refused = !way.starts_with("of a service");
        assert_eq!(code, if is_refused { ResultCode::NotAllowed } else { ResultCode::Ok }, "{way}: {problem}");
        assert!(!problem.contains("worst"), "the list is nobody's business: {problem}");
    }
    let before = server.inbox(8).await.len();
    for (way, answer) in answers(&server, group_id, command, &text("a BadWord!")).await {
        assert_eq!(answer.0, ResultCode::Ok, "{way}");
    }
    let inbox = server.inbox(8).await;
    assert!(inbox[before..].iter().all(|message| said(message).ends_with(unknown)));
    let texts = inbox[before..].iter().map(|message| Text::decode(said(message)).unwrap().text);
    let covered = "a *******!".to_owned();
    let as_it_is = "a BadWord!".to_owned();
    let expected = [covered.clone(), covered.clone(), covered, as_it_is.clone(), as_it_is];
    assert_eq!(texts.collect::<Vec<_>>(), expected, "two sends, one for a user, and two pushes");
    // Bytes of an app's own are not looked into.
    for (way, answer) in answers(&server, group_id, 5000, &Bytes::from_static(b"worstword")).await {
        assert_eq!(answer.0, ResultCode::Ok, "{way}");
    }
}

/// What a send of a text to user 8 is answered.
async fn said_text(server: &Server, text: &str) -> ResultCode {
    let content = Bytes::from(Text { text: text.into(), ..Text::default() }.encode_to_vec());
    let request = send(Target::UserId(8), MessageCommand::McText as i32, &content);
    match server.message_ext().send(signed(7, request)).await {
        Ok(_) => ResultCode::Ok,
        refused => refusal(refused).0,
    }
}

fn put(kind: WordListKind, words: &str) -> PutWordsRequest {
    PutWordsRequest { kind: kind.into(), words: words.into() }
}

#[tokio::test]
async fn a_list_that_is_put_holds_until_another_one_takes_its_place() {
    let server = server_with(StubBusiness::start().await, |settings| settings.word_filter.words_max = 3).await;
    let mut words = server.word_int();
    assert_eq!(said_text(&server, "a badword 1").await, ResultCode::Ok);
    let count = words.put(put(WordListKind::WlkRefuse, "badword\n# a remark\n")).await.unwrap().into_inner().count;
    assert_eq!((count, said_text(&server, "a badword 2").await), (1, ResultCode::NotAllowed));
    for (request, problem) in [
        (put(WordListKind::WlkRefuse, "good\n***"), "words: line 2: `***` has no letter"),
        (put(WordListKind::WlkMask, "a\nb\nc"), "words: there are more than 3 words (word_filter.words_max)"),
        (put(WordListKind::WlkUnknown, "a"), "kind: must be set"),
    ] {
        assert_eq!(refusal(words.put(request).await), (ResultCode::BadRequest, problem.to_owned()));
    }
    assert_eq!(said_text(&server, "a badword 3").await, ResultCode::NotAllowed, "the old list holds");
    let kept = words.get(GetWordsRequest { kind: WordListKind::WlkRefuse.into() }).await.unwrap().into_inner();
    assert!(kept.words == "badword\n# a remark\n" && kept.changed_at_ms > 0, "{kept:?}");
    let lists = WordLists::new(&WordFilterSettings::default()).unwrap();
    let database = server.database().await;
    // As another node of the same database has it.
    let elsewhere = ListedWords::new(lists.clone(), Store::new(database).word_lists, 1_000);
    elsewhere.refresh().await.unwrap();
    assert!(lists.now().is_some());
    words.put(put(WordListKind::WlkRefuse, "")).await.unwrap();
    assert_eq!(said_text(&server, "a badword 4").await, ResultCode::Ok);
    elsewhere.refresh().await.unwrap();
    assert!(lists.now().is_none());
}

#[tokio::test]
async fn lists_of_which_a_node_can_make_nothing_are_told_and_looked_at_again() {
    let server = server_with(StubBusiness::start().await, |settings| settings.word_filter.words_max = 3).await;
    let mut words = server.word_int();
    words.put(put(WordListKind::WlkRefuse, "badword")).await.unwrap();
    let smaller = WordFilterSettings { words_max: 1, ..WordFilterSettings::default() };
    let lists = WordLists::new(&smaller).unwrap();
    let elsewhere = ListedWords::new(lists.clone(), Store::new(server.database().await).word_lists, 1_000);
    elsewhere.refresh().await.unwrap();
    words.put(put(WordListKind::WlkMask, "one\ntwo")).await.unwrap();
    for _ in 0..2 {
        let problem = elsewhere.refresh().await.unwrap_err().to_string();
        assert!(problem.ends_with("there are more than 1 words (word_filter.words_max)"), "{problem}");
    }
    assert!(lists.now().is_some(), "the old list holds");
    let Server { logic, business: _business, data: _data, mut settings, channel } = server;
    drop((channel, words));
    soon(logic.stop()).await;
    settings.word_filter.words_max = 1;
    let problem = gim_logic::start(settings).await.unwrap_err().to_string();
    assert!(problem.starts_with("the lists of words that were put are of no use here: there are more"), "{problem}");
}

#[tokio::test]
async fn words_count_in_what_a_service_says_where_it_asks_for_that() {
    let server = server().await;
    server.word_int().put(put(WordListKind::WlkMask, "badword")).await.unwrap();
    server.word_int().put(put(WordListKind::WlkFlag, "casino")).await.unwrap();
    let content = Bytes::from(Text { text: "badword casino".into(), ..Text::default() }.encode_to_vec());
    for (filter_words, text) in [(false, "badword casino"), (true, "******* casino")] {
        let content = content.clone();
        let request = PushToUsersRequest {
            user_ids: vec![8],
            command: 200,
            content,
            is_persist: true,
            filter_words,
            ..Default::default()
        };
        server.message_int().push_to_users(request).await.unwrap();
        let last = server.inbox(8).await.pop().unwrap();
        assert_eq!(Text::decode(last.content).unwrap().text, text);
    }
}
