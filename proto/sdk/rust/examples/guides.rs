//! The code of the guides, which thereby compiles: a test holds each block of theirs against these lines.
#![allow(clippy::print_stdout, clippy::needless_pass_by_value, reason = "it is to be read, in pieces")]

use std::{error::Error, io::Cursor, time::Duration};

use gim_client::{
    Client, Event, Events, GimError, Message, Notice, Options, OptionsError, RequestOptions, SendOptions, SqliteStore,
    State, Target, TokenError, TypedContent,
    content::{Image, Media, Mention, Text},
    content_of, conversation_of,
    files::{Files, FilesOptions, UploadOptions},
    local_code, notice_of, preview_of,
    proto::{
        business::AddedBy,
        logic::{Group, GroupKind, GroupMember, MemberType},
    },
    services::{ConversationFields, DeviceFields, HistoryPlace},
    text_of,
};

type Done = Result<(), Box<dyn Error>>;

async fn chat_token(_was_refused: bool) -> Result<Option<String>, TokenError> {
    Ok(None)
}

fn users() -> Result<(Client, Events), OptionsError> {
    let options = Options::new(7, 70).locate("https://chat.example.com/locate").get_token(async |request| {
        // As your app asks its backend; `Ok(None)` where the user is signed out of your app: the client ends.
        chat_token(request.was_refused).await
    });
    let (client, events) = Client::new(options)?;
    Ok((client, events))
}

async fn messages(mut events: Events) {
    while let Some(event) = events.next().await {
        let Event::Message(message) = event else { continue };
        let place = conversation_of(&message); // Target::User, Group or Room, or none
        let nickname = message.from.as_ref().map(|from| &from.nickname);
        println!("{place:?} {nickname:?} {} {:?}", text_of(&message), message.status);
    }
}

async fn sending(client: Client, event: Event) -> Done {
    let id = client.send(Target::User(8), "hello").await?;
    match event {
        Event::Sent(sent) if sent.client_msg_id == id => println!("stored as {}", sent.message_id),
        Event::Failed { client_msg_id, code, message, .. } if client_msg_id == id => println!("{code} {message}"),
        _ => {}
    }
    let options = SendOptions { command: 1001, ..SendOptions::default() };
    client.send_with(Target::User(8), vec![1, 2, 3], options).await?;
    Ok(())
}

async fn contents(client: Client, message: Message) -> Done {
    let ada = Mention { user_id: 8, offset: 0, length: 4 };
    let text = Text { text: "@Ada look".into(), mentions: vec![ada], ..Text::default() };
    client.send_content(Target::Group(5), text).await?;
    if let Some(TypedContent::Image(image)) = content_of(&message) {
        println!("{:?} {}", image.media, image.caption);
    }
    println!("{}", preview_of(&message)); // "📷 the sea"
    Ok(())
}

async fn storage(options: Options) -> Done {
    let store = SqliteStore::open("chat of 7 on 70.sqlite").await?; // a file for each user and device
    let (client, mut events) = Client::new(options.store(store.clone()))?;
    client.start().await;
    let conversations = store.conversations().await?; // each with its newest message
    let latest = store.messages(Target::User(8), None, 50).await?;
    let older = store.messages(Target::User(8), latest.first().map(|first| first.seq), 50).await?;
    println!("{} {} {}", conversations.len(), latest.len(), older.len());
    while events.next().await.is_some() {}
    Ok(())
}

async fn conversations(client: Client, message: Message, event: Event) -> Done {
    for conversation in client.conversations().list().await? {
        let newest = conversation.newest.as_ref().map(text_of);
        println!("{:?} {newest:?} {} {}", conversation.target, conversation.unread, conversation.is_pinned);
    }
    let fields = ConversationFields { is_pinned: Some(true), ..ConversationFields::default() };
    client.conversations().set(Target::User(8), fields).await?; // what is `None` stays as it is
    client.conversations().delete(Target::Group(9)).await?; // from this user's view; the others keep it
    client.conversations().read(Target::User(8), message.message_id).await?;
    match event {
        Event::Conversation(change) => println!("on another device: {change:?}"),
        Event::Read(mark) => println!("{} has read {:?} up to {}", mark.user_id, mark.target, mark.message_id),
        _ => {}
    }
    Ok(())
}

async fn history(client: Client, message: Message) -> Done {
    let page = client.history().page(Target::Group(9), HistoryPlace::Newest).await?;
    let last = page.messages.last().map_or(0, |last| last.group_seq);
    let older = client.history().page(Target::Group(9), HistoryPlace::Before(last)).await?;
    let around = client.history().page(Target::Group(9), HistoryPlace::Around(message.message_id)).await?;
    let with_extent = client.history().page_of(Target::User(8), HistoryPlace::Newest, 1, true).await?;
    println!("{} {} {:?}", older.has_more, around.has_newer, with_extent.extent);
    Ok(())
}

async fn groups(client: Client, message: Message) -> Done {
    let lunch = Group { name: "Lunch".into(), ..Group::default() };
    let group_id = client.groups().create(lunch, &[8, 9]).await?; // the caller becomes an admin
    client.send(Target::Group(group_id), "Noon?").await?;
    client.groups().add_members(group_id, &[10]).await?;
    let admin = GroupMember { user_id: 8, r#type: MemberType::MtAdmin as i32, ..GroupMember::default() };
    client.groups().update_member(group_id, admin).await?;
    for member in client.groups().members(group_id).await? {
        println!("{} {:?}", member.user_id, member.r#type());
    }
    client.groups().leave(group_id).await?;
    let town = Group { name: "Town".into(), kind: GroupKind::GkLarge as i32, ..Group::default() }; // a large one
    client.groups().create(town, &[]).await?;
    if let Some(Notice::MembersAdded { by, members, .. }) = notice_of(&message) {
        println!("{} added {members:?}", by.nickname);
    }
    client.history().recall(message.message_id).await?;
    Ok(())
}

async fn contacts(client: Client) -> Done {
    let found = client.users().search("+8613800000001", 0).await?; // a whole phone number, or a part of a nickname
    println!("{} users, more from {} on", found.users.len(), found.next);
    client.friends().add(8, "We met at lunch.").await?;
    for request in client.friends().requests().await? {
        client.friends().agree(request.user_id).await?;
    }
    client.friends().block(10).await?;
    client.friends().set_contact_rules(AddedBy::AbFriends).await?; // who may put this user into groups
    Ok(())
}

async fn rooms(client: Client, event: Event) -> Done {
    client.enter_room(5, true).await; // with what the room retains
    match event {
        Event::Room { room_id, is_entered, message, .. } => println!("{room_id} {is_entered} {message}"),
        Event::Message(message) if message.room_id == 5 => println!("{} {}", message.room_seq, text_of(&message)),
        _ => {}
    }
    client.send(Target::Room(5), "hello, everybody").await?;
    let here = client.rooms().count_members(&[5]).await?;
    println!("{here:?}");
    client.leave_room().await;
    Ok(())
}

async fn waking(client: Client) -> Done {
    let fields = DeviceFields { push_id: "a token of FCM or APNs".into(), ..DeviceFields::default() };
    client.devices().update(fields).await?;
    let key = client.devices().web_push_key().await?; // empty where the server wakes no pages
    println!("{}", key.len());
    Ok(())
}

async fn files(client: Client, picture: Cursor<Vec<u8>>) -> Done {
    let options = FilesOptions::new("https://files.example.com", 7, 70);
    let files = Files::new(options.get_token(async |request| chat_token(request.was_refused).await))?;
    let mut begun = String::new(); // kept, the upload goes on after a restart: `resume(begun)`
    let options = UploadOptions::named("sea.jpg")
        .on_begun(|url| url.clone_into(&mut begun))
        .on_progress(|sent, total| println!("{sent} of {total}"));
    let info = files.upload(picture, options).await?; // dropping it stops it
    let media = Media { url: info.url.clone(), media_type: info.kind, size_bytes: info.size_bytes, ..Media::default() };
    let (width, height) = (info.width, info.height);
    client.send_content(Target::User(8), Image { media: Some(media), width, height, ..Image::default() }).await?;
    let again = files.about(&info.url).await?; // the same file, by URLs that are good from now on
    let mut copy = Cursor::new(Vec::new());
    files.download(&again.url, &mut copy, |done, total| println!("{done} of {total}")).await?;
    println!("{begun}");
    Ok(())
}

fn states(event: Event) {
    match event {
        Event::State(State::Waiting { until_ms }) => println!("offline, tries again at {until_ms}"),
        Event::State(State::Ended { reason, message, .. }) => println!("signed out: {reason} {message}"),
        Event::Synced => println!("everything that was missed is here"),
        Event::Error { about, message } => println!("{about}: {message}"),
        _ => {}
    }
}

async fn errors(client: Client) -> Result<(), GimError> {
    let hasty = client.with_options(RequestOptions { timeout: Duration::from_secs(5), is_repeatable: None });
    match hasty.groups().get(9).await {
        Ok(group) => println!("{}", group.name),
        Err(GimError { code: 10201, .. }) => println!("not in this group"),
        Err(GimError { code: local_code::CONNECTION_LOST, .. }) => println!("nobody knows whether it was done"),
        Err(error) => return Err(error),
    }
    Ok(())
}

fn main() {
    // Nothing runs: they are pieces.
    let _ = (
        users,
        messages,
        sending,
        contents,
        storage,
        conversations,
        history,
        groups,
        contacts,
        rooms,
        waking,
        files,
        states,
        errors,
    );
}
