//! What the server writes and reads on long connections of each dialect, byte by byte: `frames.txt` in its folder has a line for each
//! answer, push, page, hint and goodbye, and for each frame of a client what it is in today's words. It changes only where somebody writes
//! it anew, by `GIM_WRITE_GOLDEN=1`.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{env, fmt::Write as _, fs, path::PathBuf};

use gim_legacy::{
    Dialect,
    packets::{Packet, Scratch},
};
use gim_proto::{
    CloseReason,
    business::{AddFriendPush, AgreeAddFriendPush},
    connect::{CloseNotice, Message, MessageCommand, MessageStatus, PacketCommand, Reply},
    content::{self, Media, Mention},
    logic::{
        AddGroupMembersPush, GroupMember, GroupMessagePush, RemoveGroupMemberPush, SyncReply, UpdateGroupPush, User,
        UserMessagePush,
    },
};
use prost::Message as _;

fn card() -> Option<User> {
    Some(User {
        user_id: 5,
        device_id: 6,
        nickname: "Ada".into(),
        avatar_url: "https://a.example".into(),
        extra: "e".into(),
    })
}

/// A message of the inbox.
fn stored(command: MessageCommand, content: &impl prost::Message, is_from_user: bool) -> Message {
    let (command, content) = (command as i32, content.encode_to_vec().into());
    let (created_at, created_at_ms) = (1_700_000_000, 1_700_000_000_123);
    Message {
        command,
        content,
        seq: 7,
        prev_seq: 6,
        message_id: 70,
        created_at,
        created_at_ms,
        is_from_user,
        ..Message::default()
    }
}

fn to_user(command: MessageCommand, content: Vec<u8>) -> Message {
    stored(command, &UserMessagePush { from_user: card(), to_user_id: 8, content: content.into() }, true)
}

fn to_group(command: MessageCommand, content: Vec<u8>) -> Message {
    let wrapped = GroupMessagePush { from_user: card(), group_id: 9, content: content.into() };
    Message { group_id: 9, ..stored(command, &wrapped, true) }
}

/// A kind of content each, typed or not.
fn contents() -> Vec<(&'static str, MessageCommand, Vec<u8>)> {
    let media = || Some(Media { url: "https://a.example/b".into(), size_bytes: 3, ..Media::default() });
    let mentions = vec![Mention { user_id: 3, offset: 0, length: 2 }];
    let text = content::Text { text: "hi".into(), mentions, mentions_all: false };
    let reply = content::Reply { message_id: 1, text: Some(text.clone()), ..content::Reply::default() };
    let sticker = content::Sticker { sticker_id: "12".into(), media: media(), ..content::Sticker::default() };
    let voice = content::Voice { media: media(), duration_ms: 1_500, ..content::Voice::default() };
    let image = content::Image { media: media(), width: 1, height: 2, ..content::Image::default() };
    let video = content::Video { media: media(), ..content::Video::default() };
    let file = content::File { media: media(), name: "f".into() };
    let location = content::Location { latitude: 1.5, longitude: -2.5, title: "t".into(), address: "a".into() };
    let contact = content::ContactCard { user_id: 4, nickname: "Bob".into(), avatar_url: String::new() };
    // A command of 2020: its code, and data.
    let command =
        content::Custom { r#type: "command".into(), data: b"\x08\x05\x12\x01d".to_vec().into(), ..Default::default() };
    let custom = content::Custom { r#type: "custom".into(), data: "c".into(), ..content::Custom::default() };
    vec![
        ("bytes", MessageCommand::McUserMessage, b"own".to_vec()),
        ("text", MessageCommand::McText, text.encode_to_vec()),
        ("reply", MessageCommand::McReply, reply.encode_to_vec()),
        ("sticker", MessageCommand::McSticker, sticker.encode_to_vec()),
        ("voice", MessageCommand::McVoice, voice.encode_to_vec()),
        ("image", MessageCommand::McImage, image.encode_to_vec()),
        ("video", MessageCommand::McVideo, video.encode_to_vec()),
        ("file", MessageCommand::McFile, file.encode_to_vec()),
        ("location", MessageCommand::McLocation, location.encode_to_vec()),
        ("contact", MessageCommand::McContactCard, contact.encode_to_vec()),
        ("command", MessageCommand::McCustom, command.encode_to_vec()),
        ("custom", MessageCommand::McCustom, custom.encode_to_vec()),
    ]
}

fn news() -> Vec<(&'static str, Message)> {
    let (nickname, avatar_url) = ("Ada".to_owned(), "https://a.example".to_owned());
    let asked = AddFriendPush {
        friend_id: 5,
        nickname: nickname.clone(),
        avatar_url: avatar_url.clone(),
        description: "d".into(),
    };
    let agreed = AgreeAddFriendPush { friend_id: 5, nickname: nickname.clone(), avatar_url };
    let updated =
        UpdateGroupPush { opt_id: 5, opt_name: nickname.clone(), name: "n".into(), ..UpdateGroupPush::default() };
    let member =
        GroupMember { user_id: 3, nickname: "Bob".into(), r#type: 1, extra: "e".into(), ..GroupMember::default() };
    let added = AddGroupMembersPush { opt_id: 5, opt_name: nickname.clone(), members: vec![member] };
    let removed = RemoveGroupMemberPush { opt_id: 5, opt_name: nickname, deleted_user_id: 3, ..Default::default() };
    let of_group = |message: Message| Message { group_id: 9, ..message };
    let said = to_user(MessageCommand::McUserMessage, b"own".to_vec());
    let gone = |status: MessageStatus| Message { status: status as i32, content: Vec::new().into(), ..said.clone() };
    let in_room = UserMessagePush { from_user: card(), to_user_id: 0, content: "own".into() };
    let in_room = Message { room_id: 4, seq: 0, prev_seq: 0, ..stored(MessageCommand::McUserMessage, &in_room, true) };
    let of_large =
        Message { seq: 0, prev_seq: 0, group_seq: 2, ..to_group(MessageCommand::McGroupMessage, b"own".to_vec()) };
    vec![
        ("add_friend", stored(MessageCommand::McAddFriend, &asked, false)),
        ("agree_add_friend", stored(MessageCommand::McAgreeAddFriend, &agreed, false)),
        ("update_group", of_group(stored(MessageCommand::McUpdateGroup, &updated, false))),
        ("add_group_members", of_group(stored(MessageCommand::McAddGroupMembers, &added, false))),
        ("remove_group_member", of_group(stored(MessageCommand::McRemoveGroupMember, &removed, false))),
        ("recalled", gone(MessageStatus::MsRecalled)),
        ("expired", gone(MessageStatus::MsExpired)),
        ("in_a_room", in_room),
        ("in_a_large_group", of_large),
        ("of_the_business", Message { command: 2_001, content: "own".into(), is_from_user: false, ..said }),
    ]
}

fn packets() -> Vec<(String, PacketCommand, Vec<u8>)> {
    let reply = |code: i32, message: &str, data: Vec<u8>| {
        Reply { code, message: message.into(), data: data.into() }.encode_to_vec()
    };
    let pushed = contents().into_iter().map(|(name, command, content)| (name.to_owned(), to_user(command, content)));
    let said_in_group = ("to_a_group".to_owned(), to_group(MessageCommand::McGroupMessage, b"own".to_vec()));
    let pushed: Vec<(String, Message)> = pushed
        .chain([said_in_group])
        .chain(news().into_iter().map(|(name, message)| (name.to_owned(), message)))
        .collect();
    let messages = pushed.iter().filter(|(_, message)| message.seq != 0).map(|(_, message)| message.clone()).collect();
    let page = SyncReply { messages, has_more: true, ..SyncReply::default() }.encode_to_vec();
    let notice = CloseNotice { reason: CloseReason::CrKicked as i32, message: "no".into(), ..CloseNotice::default() };
    let answers = [
        ("signed_in", PacketCommand::PcSignIn, reply(0, "", Vec::new())),
        ("sign_in_refused", PacketCommand::PcSignIn, reply(10_000, "no", Vec::new())),
        ("heartbeat", PacketCommand::PcHeartbeat, Vec::new()),
        ("subscribed", PacketCommand::PcSubscribeRoom, reply(0, "", Vec::new())),
        ("acknowledged", PacketCommand::PcMessageAck, reply(0, "", Vec::new())),
        ("page", PacketCommand::PcSync, reply(0, "", page)),
        ("sync_refused", PacketCommand::PcSync, reply(10_007, "no", Vec::new())),
        ("hint", PacketCommand::PcSyncHint, Vec::new()),
        ("goodbye", PacketCommand::PcClose, notice.encode_to_vec()),
    ];
    let answers = answers.map(|(name, command, content)| (name.to_owned(), command, content));
    let pushes = pushed.into_iter().map(|(name, message)| (name, PacketCommand::PcMessage, message.encode_to_vec()));
    answers.into_iter().chain(pushes).collect()
}

/// Frames of clients: with a number alone, a request id, and contents of a sign-in, a sync or a subscription, and of an ack.
fn asked() -> Vec<Vec<u8>> {
    let contents: [&[u8]; 4] = [b"", b"\x08\x02\x10\x01\x1a\x01t", b"\x08\x04", b"\x10\x09\x18\x01"];
    let numbers: [&[u8]; 8] =
        [b"\x01", b"\x02", b"\x03", b"\x04", b"\x05", b"\x06", b"\x64", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"];
    let frame = |number: &[u8], content: &[u8], is_message: bool| {
        let (request_id, key): (&[u8], u8) = if is_message { (b"\x0a\x01r", 0x10) } else { (b"\x10\x05", 0x08) };
        let mut frame = Vec::new();
        if is_message {
            frame.extend_from_slice(request_id);
        }
        frame.push(key);
        frame.extend_from_slice(number);
        if !is_message {
            frame.extend_from_slice(request_id);
        }
        if !content.is_empty() {
            frame.extend([0x1a, content.len() as u8]);
            frame.extend_from_slice(content);
        }
        frame
    };
    let mut frames = Vec::new();
    for is_message in [false, true] {
        for number in numbers {
            frames.extend(contents.iter().map(|content| frame(number, content, is_message)));
        }
    }
    frames
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_is_written_and_read_has_the_bytes_that_it_had() {
    for dialect in Dialect::all() {
        let mut text = String::new();
        for (name, command, content) in packets() {
            let said = Packet { request_id: "5", command: command as i32, content: &content };
            let mut frame = Vec::new();
            let is_said = dialect.packets().write(&said, &mut frame);
            let frame = if is_said { hex(&frame) } else { "nothing".to_owned() };
            writeln!(text, "writes {name} {frame}").unwrap();
        }
        for frame in asked() {
            let mut scratch = Scratch::default();
            let read = match dialect.packets().read(&frame, &mut scratch) {
                Ok(Packet { request_id, command, content }) => format!("{command} {request_id:?} {}", hex(content)),
                Err(_) => "no packet".to_owned(),
            };
            writeln!(text, "reads {} as {}", hex(&frame), read.trim_end()).unwrap();
        }
        let folder = format!("src/d{}", dialect.name().replace('-', "_"));
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder).join("frames.txt");
        if env::var_os("GIM_WRITE_GOLDEN").is_some() {
            fs::write(&file, &text).unwrap();
        }
        assert_eq!(text, fs::read_to_string(&file).unwrap(), "{}", file.display());
    }
}
