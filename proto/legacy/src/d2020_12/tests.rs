//! What is rewritten, held against the dialect's own messages.

use bytes::Bytes;
use gim_proto::{
    connect::{Message as Today, MessageCommand, MessageStatus as TodaysStatus, PacketCommand},
    content::{self, Media},
    logic as todays, typed_content,
};
use proptest::prelude::*;
use prost::Message as _;

use super::{
    PACKETS, contents,
    wire::{
        self, Command, Custom, Face, File, Image, Location, Message, MessageSend, MessageStatus, MessageType, Output,
        PackageType, PushCode, ReceiverType, Sender, SenderType, Text, Voice,
    },
};
use crate::packets::{Packet, Packets as _, Scratch};

fn pushed(message: &Today) -> Option<Message> {
    let (mut frame, content) = (Vec::new(), message.encode_to_vec());
    let said = Packet { request_id: "", command: PacketCommand::PcMessage as i32, content: &content };
    let is_said = PACKETS.write(&said, &mut frame);
    assert!(is_said || frame.is_empty());
    is_said.then(|| {
        let output = Output::decode(&frame[..]).unwrap();
        assert_eq!((output.r#type(), output.request_id, output.code), (PackageType::PtMessage, 0, 0));
        MessageSend::decode(output.data).unwrap().message.unwrap()
    })
}

/// What a user says to another one.
fn said(command: i32, content: Bytes) -> Today {
    let card = todays::User { user_id: 5, device_id: 6, nickname: "n".into(), ..todays::User::default() };
    let push = todays::UserMessagePush { from_user: Some(card), to_user_id: 9, content };
    let (content, is_from_user) = (push.encode_to_vec().into(), true);
    Today { command, content, seq: 7, created_at_ms: 1_234, is_from_user, ..Today::default() }
}

fn one_of_each() -> Vec<(MessageType, Vec<u8>)> {
    let (id, url) = ("i".to_owned(), "https://a.example/b".to_owned());
    let image = |id: &str, url: &str| Image {
        id: id.into(),
        width: 3,
        height: 4,
        url: url.into(),
        thumbnail_url: String::new(),
    };
    vec![
        (MessageType::MtText, Text { text: "hi".into() }.encode_to_vec()),
        (MessageType::MtFace, Face { face_id: 3, face_url: url.clone() }.encode_to_vec()),
        (MessageType::MtVoice, Voice { id, size: 3, duration: 4, url: String::new() }.encode_to_vec()),
        (MessageType::MtImage, image("", &url).encode_to_vec()),
        (MessageType::MtImage, image("i", "").encode_to_vec()),
        (MessageType::MtFile, File { id: 0, name: "f".into(), size: 1 << 40, url }.encode_to_vec()),
        (MessageType::MtFile, File { id: 12, name: "f".into(), size: 0, url: String::new() }.encode_to_vec()),
        (MessageType::MtLocation, Location { desc: "d".into(), latitude: 1.5, longitude: -2.5 }.encode_to_vec()),
        (MessageType::MtCommand, Command { code: 1_001, data: "d".into() }.encode_to_vec()),
        (MessageType::MtCustom, Custom { data: "{}".into() }.encode_to_vec()),
    ]
}

#[test]
fn every_content_of_then_is_a_checked_one_of_today_and_comes_back() {
    for (message_type, content) in one_of_each() {
        let (command, todays) = contents::todays(message_type, content.clone().into(), &[]).unwrap();
        typed_content::check(command, &todays).unwrap();
        let message = pushed(&said(command, todays)).unwrap();
        assert_eq!((message.message_type(), &message.message_content[..]), (message_type, &content[..]));
        let sender =
            Sender { sender_type: SenderType::StUser as i32, sender_id: 5, nickname: "n".into(), ..Sender::default() };
        assert_eq!(
            (message.sender.clone(), message.receiver_type, message.receiver_id),
            (Some(sender), ReceiverType::RtUser as i32, 9)
        );
        assert_eq!((message.seq, message.send_time, message.status()), (7, 1_234, MessageStatus::MsNormal));
    }
}

#[test]
fn who_is_meant_by_a_text_is_meant_in_both() {
    let text = Text { text: "hi 😀".into() }.encode_to_vec();
    let (command, content) = contents::todays(MessageType::MtText, text.into(), &[3, 4]).unwrap();
    typed_content::check(command, &content).unwrap();
    assert_eq!(pushed(&said(command, content)).unwrap().to_user_ids, [3, 4]);
}

#[test]
fn what_is_no_content_is_refused_by_name() {
    let refused = |message_type, content: &'static [u8]| {
        contents::todays(message_type, Bytes::from_static(content), &[]).unwrap_err().field
    };
    assert_eq!(refused(MessageType::MtUnknown, b""), "message_type");
    assert_eq!(refused(MessageType::MtText, b"\xff"), "message_content");
}

#[test]
fn what_only_todays_clients_say_comes_as_what_is_nearest() {
    let media = || Some(Media { url: "https://a.example/b".into(), size_bytes: 5, ..Media::default() });
    let told = |command: MessageCommand, content: Vec<u8>| {
        let message = pushed(&said(command as i32, content.into())).unwrap();
        (message.message_type(), message.message_content)
    };
    let video = content::Video { media: media(), caption: "c".into(), ..content::Video::default() };
    let (message_type, content) = told(MessageCommand::McVideo, video.encode_to_vec());
    assert_eq!(message_type, MessageType::MtFile);
    assert_eq!(File::decode(content).unwrap().name, "c");
    let gif = content::Gif { media: media(), width: 1, height: 2, ..content::Gif::default() };
    assert_eq!(told(MessageCommand::McGif, gif.encode_to_vec()).0, MessageType::MtImage);
    let card = content::ContactCard { user_id: 3, nickname: "n".into(), ..content::ContactCard::default() };
    let (message_type, content) = told(MessageCommand::McContactCard, card.encode_to_vec());
    assert_eq!((message_type, Text::decode(content).unwrap().text), (MessageType::MtText, "👤 n".to_owned()));
    let (message_type, content) = told(MessageCommand::McUserMessage, b"own".to_vec());
    assert_eq!((message_type, Custom::decode(content).unwrap().data), (MessageType::MtCustom, "own".to_owned()));
}

#[test]
fn a_command_says_nothing_that_apps_cannot_read_or_the_server_alone_says() {
    let refused = |code: i32| {
        let content = Command { code, ..Command::default() }.encode_to_vec();
        contents::todays(MessageType::MtCommand, content.into(), &[]).is_err()
    };
    assert!([100, 121, 199].into_iter().all(refused) && ![99, 200, 1_001].into_iter().any(refused));
    for data in [b"\xff".to_vec(), Command { code: PushCode::PcAddFriend as i32, ..Command::default() }.encode_to_vec()]
    {
        let custom = content::Custom { r#type: "command".into(), data: data.into(), preview: String::new() };
        let message = pushed(&said(MessageCommand::McCustom as i32, custom.encode_to_vec().into())).unwrap();
        assert_eq!(message.message_type(), MessageType::MtCustom);
        Custom::decode(message.message_content).unwrap();
    }
}

#[test]
fn a_sticker_without_a_number_or_a_picture_is_a_line_of_text() {
    let sticker = content::Sticker { pack_id: "p".into(), sticker_id: "smile".into(), ..content::Sticker::default() };
    let message = pushed(&said(MessageCommand::McSticker as i32, sticker.encode_to_vec().into())).unwrap();
    let text = Text::decode(message.message_content).unwrap().text;
    assert_eq!((message.message_type, text.as_str()), (MessageType::MtText as i32, "🙂"));
}

#[test]
fn a_file_without_a_name_gets_one_and_too_many_who_are_meant_are_cut() {
    let file = File { id: 12, ..File::default() }.encode_to_vec();
    let (command, content) = contents::todays(MessageType::MtFile, file.into(), &[]).unwrap();
    typed_content::check(command, &content).unwrap();
    let text = Text { text: "hi".into() }.encode_to_vec();
    let meant: Vec<i64> = (1..=101).collect();
    let (command, content) = contents::todays(MessageType::MtText, text.into(), &meant).unwrap();
    typed_content::check(command, &content).unwrap();
}

#[test]
fn news_are_commands_under_the_numbers_of_then() {
    let push = todays::RemoveGroupMemberPush { opt_id: 1, deleted_user_id: 2, ..Default::default() };
    let (command, content) = (MessageCommand::McRemoveGroupMember as i32, Bytes::from(push.encode_to_vec()));
    let message = pushed(&Today { command, content, seq: 1, group_id: 8, ..Today::default() }).unwrap();
    assert_eq!((message.receiver_type(), message.receiver_id), (ReceiverType::RtSmallGroup, 8));
    assert_eq!(message.sender.unwrap().sender_type(), SenderType::StSystem);
    let told = Command::decode(message.message_content).unwrap();
    assert_eq!(told.code, PushCode::PcRemoveGroupMember as i32);
    assert_eq!(wire::RemoveGroupMemberPush::decode(told.data).unwrap().deleted_user_id, 2);
    let message = pushed(&Today { command: 2_001, content: "b".into(), seq: 1, ..Today::default() }).unwrap();
    assert_eq!(message.sender.unwrap().sender_type(), SenderType::StBusiness);
    assert_eq!(Command::decode(message.message_content).unwrap(), Command { code: 2_001, data: "b".into() });
}

#[test]
fn a_recall_keeps_its_seq_and_rooms_are_not_heard_of() {
    let (status, command) = (TodaysStatus::MsRecalled as i32, MessageCommand::McText as i32);
    let recalled = pushed(&Today { status, command, seq: 8, ..Today::default() }).unwrap();
    assert_eq!(
        (recalled.status(), recalled.seq, recalled.message_type()),
        (MessageStatus::MsRecall, 8, MessageType::MtUnknown)
    );
    assert_eq!(pushed(&Today { room_id: 77, seq: 0, ..said(command, Bytes::new()) }), None);
    let large = Today { group_id: 8, group_seq: 4, seq: 0, ..said(command, Bytes::new()) };
    assert_eq!(pushed(&large).unwrap().receiver_type(), ReceiverType::RtLargeGroup);
    let subscribe = wire::Input { r#type: 5, request_id: 1, ..wire::Input::default() }.encode_to_vec();
    assert!(PACKETS.read(&subscribe, &mut Scratch::default()).unwrap().command < 0);
}

proptest! {
    #[test]
    fn whatever_is_stored_is_told(command in 0i32..300, content in proptest::collection::vec(any::<u8>(), 0..60), seq in 1u64..) {
        let told = pushed(&Today { command, content: content.into(), seq, is_from_user: true, ..Today::default() });
        prop_assert_eq!(told.map(|message| message.seq), Some(seq as i64));
    }
}
