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
    PACKETS, said,
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
fn by_user(command: i32, content: Bytes) -> Today {
    let card = todays::User { user_id: 5, device_id: 6, nickname: "n".into(), ..todays::User::default() };
    let push = todays::UserMessagePush { from_user: Some(card), to_user_id: 9, content };
    let (content, is_from_user) = (push.encode_to_vec().into(), true);
    Today { command, content, seq: 7, created_at_ms: 1_234, is_from_user, ..Today::default() }
}

fn one_of_each() -> Vec<(MessageType, Vec<u8>)> {
    let (id, url, path) = ("i".to_owned(), "https://a.example/b".to_owned(), "/files/b".to_owned());
    let image = |id: &str, url: &str, thumbnail_url: &str| Image {
        id: id.into(),
        width: 3,
        height: 4,
        url: url.into(),
        thumbnail_url: thumbnail_url.into(),
    };
    let voice = |url: &str| Voice { id: id.clone(), size: 3, duration: 4, url: url.into() };
    let file = |id, size, url: &str| File { id, name: "f".into(), size, url: url.into() };
    vec![
        (MessageType::MtText, Text { text: "hi".into() }.encode_to_vec()),
        (MessageType::MtFace, Face { face_id: 3, face_url: url.clone() }.encode_to_vec()),
        (MessageType::MtFace, Face { face_id: 0, face_url: url.clone() }.encode_to_vec()),
        (MessageType::MtVoice, voice("").encode_to_vec()),
        (MessageType::MtVoice, voice(&url).encode_to_vec()),
        (MessageType::MtVoice, Voice { duration: 0, ..voice(&path) }.encode_to_vec()),
        (MessageType::MtImage, image("", &url, "").encode_to_vec()),
        (MessageType::MtImage, image("i", "", "").encode_to_vec()),
        (MessageType::MtImage, image("i", &url, &url).encode_to_vec()),
        (MessageType::MtImage, image("i", &path, &path).encode_to_vec()),
        (MessageType::MtFile, file(0, 1 << 40, &url).encode_to_vec()),
        (MessageType::MtFile, file(12, 0, "").encode_to_vec()),
        (MessageType::MtFile, file(12, 1, &url).encode_to_vec()),
        (MessageType::MtFile, file(12, 1, &path).encode_to_vec()),
        (MessageType::MtLocation, Location { desc: "d".into(), latitude: 1.5, longitude: -2.5 }.encode_to_vec()),
        (MessageType::MtCommand, Command { code: 1_001, data: "d".into() }.encode_to_vec()),
        (MessageType::MtCustom, Custom { data: "{}".into() }.encode_to_vec()),
    ]
}

#[test]
fn every_content_of_then_is_a_checked_one_of_today_and_comes_back() {
    for (message_type, content) in one_of_each() {
        let (command, todays) = said::todays(message_type, content.clone().into(), &[]).unwrap();
        typed_content::check(command, &todays).unwrap();
        let message = pushed(&by_user(command, todays)).unwrap();
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
fn of_what_only_a_line_is_made_only_the_beginning_is_read() {
    let messages = vec![content::ForwardedMessage { content: vec![1; 3_000].into(), ..Default::default() }; 20];
    let forward = content::MergedForward { title: "trip".into(), messages };
    let mut content = forward.encode_to_vec();
    content.extend([0xff; 20]);
    let message = pushed(&by_user(MessageCommand::McMergedForward as i32, content.into())).unwrap();
    assert_eq!(Text::decode(message.message_content).unwrap().text, "💬 trip");
}

#[test]
fn who_is_meant_by_a_text_is_meant_in_both() {
    let text = Text { text: "hi 😀".into() }.encode_to_vec();
    let (command, content) = said::todays(MessageType::MtText, text.into(), &[3, 4]).unwrap();
    typed_content::check(command, &content).unwrap();
    assert_eq!(pushed(&by_user(command, content)).unwrap().to_user_ids, [3, 4]);
}

#[test]
fn who_is_meant_by_more_than_a_text_comes_back() {
    let meant: Vec<i64> = (1..=200).collect();
    for (message_type, content) in one_of_each() {
        let (command, todays) = said::todays(message_type, content.into(), &meant).unwrap();
        typed_content::check(command, &todays).unwrap();
        assert_eq!(pushed(&by_user(command, todays)).unwrap().to_user_ids, meant, "{message_type:?}");
    }
}

#[test]
fn what_shows_nothing_is_refused_as_todays_is() {
    let is_refused = |message_type, content: Vec<u8>| {
        let todays = said::todays(message_type, content.into(), &[]);
        todays.and_then(|(command, content)| typed_content::check(command, &content)).is_err()
    };
    assert!(is_refused(MessageType::MtText, Text::default().encode_to_vec()));
    assert!(is_refused(MessageType::MtFace, Face::default().encode_to_vec()));
    assert!(is_refused(MessageType::MtVoice, Voice::default().encode_to_vec()));
    let (script, id) = ("javascript:alert(1)".to_owned(), "i".to_owned());
    assert!(is_refused(MessageType::MtFile, File { id: 1, url: script.clone(), ..File::default() }.encode_to_vec()));
    assert!(is_refused(MessageType::MtImage, Image { id, thumbnail_url: script, ..Image::default() }.encode_to_vec()));
    let nowhere = Location { desc: "d".into(), latitude: 91.0, longitude: 0.0 };
    assert!(is_refused(MessageType::MtLocation, nowhere.encode_to_vec()));
}

#[test]
fn a_number_below_zero_is_refused_by_name() {
    let field = |message_type, content: Vec<u8>| said::todays(message_type, content.into(), &[]).unwrap_err().field;
    let (id, url) = ("i".to_owned(), "https://a.example/b".to_owned());
    let voice = || Voice { id: id.clone(), ..Voice::default() };
    let image = || Image { id: id.clone(), ..Image::default() };
    let file = || File { id: 12, url: url.clone(), ..File::default() };
    let refused = [
        field(MessageType::MtFace, Face { face_id: -3, face_url: url.clone() }.encode_to_vec()),
        field(MessageType::MtVoice, Voice { size: -1, ..voice() }.encode_to_vec()),
        field(MessageType::MtVoice, Voice { duration: -1, ..voice() }.encode_to_vec()),
        field(MessageType::MtImage, Image { width: i32::MIN, ..image() }.encode_to_vec()),
        field(MessageType::MtImage, Image { height: -1, ..image() }.encode_to_vec()),
        field(MessageType::MtFile, File { id: i64::MIN, ..file() }.encode_to_vec()),
        field(MessageType::MtFile, File { size: -1, ..file() }.encode_to_vec()),
    ];
    let fields = ["face_id", "size", "duration", "width", "height", "id", "size"];
    assert_eq!(refused.to_vec(), fields.map(|field| format!("message_content.{field}")));
    assert!(said::todays(MessageType::MtFile, file().encode_to_vec().into(), &[]).is_ok());
}

#[test]
fn what_is_no_content_is_refused_by_name() {
    let refused = |message_type, content: &'static [u8]| {
        said::todays(message_type, Bytes::from_static(content), &[]).unwrap_err().field
    };
    assert_eq!(refused(MessageType::MtUnknown, b""), "message_type");
    assert_eq!(refused(MessageType::MtText, b"\xff"), "message_content");
}

#[test]
fn what_only_todays_clients_say_comes_as_what_is_nearest() {
    let media = || Some(Media { url: "https://a.example/b".into(), size_bytes: 5, ..Media::default() });
    let told = |command: MessageCommand, content: Vec<u8>| {
        let message = pushed(&by_user(command as i32, content.into())).unwrap();
        (message.message_type(), message.message_content)
    };
    let video = content::Video { media: media(), caption: "c".into(), ..content::Video::default() };
    let (message_type, content) = told(MessageCommand::McVideo, video.encode_to_vec());
    assert_eq!(message_type, MessageType::MtFile);
    assert_eq!(File::decode(content).unwrap().name, "c");
    let gif = content::Gif { media: media(), width: 1, height: 2, ..content::Gif::default() };
    assert_eq!(told(MessageCommand::McGif, gif.encode_to_vec()).0, MessageType::MtImage);
    let uploaded = Some(Media { file_id: "f-1".into(), ..Media::default() });
    let (message_type, content) =
        told(MessageCommand::McFile, content::File { media: uploaded, name: "a.pdf".into() }.encode_to_vec());
    assert_eq!((message_type, Text::decode(content).unwrap().text), (MessageType::MtText, "📎 a.pdf".to_owned()));
    let mentions = vec![content::Mention { user_id: 4, offset: 0, length: 1 }];
    let text = Some(content::Text { text: "yes".into(), mentions, mentions_all: false });
    let reply = content::Reply { message_id: 3, text, ..content::Reply::default() }.encode_to_vec();
    let message = pushed(&by_user(MessageCommand::McReply as i32, reply.into())).unwrap();
    assert_eq!(Text::decode(message.message_content).unwrap().text, "yes");
    assert_eq!(message.to_user_ids, [4]);
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
        said::todays(MessageType::MtCommand, content.into(), &[]).is_err()
    };
    assert!([100, 121, 199].into_iter().all(refused) && ![99, 200, 1_001].into_iter().any(refused));
    for data in [b"\xff".to_vec(), Command { code: PushCode::PcAddFriend as i32, ..Command::default() }.encode_to_vec()]
    {
        let custom = content::Custom { r#type: "command".into(), data: data.into(), preview: String::new() };
        let message = pushed(&by_user(MessageCommand::McCustom as i32, custom.encode_to_vec().into())).unwrap();
        assert_eq!(message.message_type(), MessageType::MtCustom);
        Custom::decode(message.message_content).unwrap();
    }
}

#[test]
fn a_sticker_without_a_number_or_a_picture_is_a_line_of_text() {
    let sticker = content::Sticker { pack_id: "p".into(), sticker_id: "smile".into(), ..content::Sticker::default() };
    let message = pushed(&by_user(MessageCommand::McSticker as i32, sticker.encode_to_vec().into())).unwrap();
    let text = Text::decode(message.message_content).unwrap().text;
    assert_eq!((message.message_type, text.as_str()), (MessageType::MtText as i32, "🙂"));
}

#[test]
fn a_file_without_a_name_gets_one_and_too_many_who_are_meant_are_cut() {
    let file = File { id: 12, ..File::default() }.encode_to_vec();
    let (command, content) = said::todays(MessageType::MtFile, file.into(), &[]).unwrap();
    typed_content::check(command, &content).unwrap();
    let text = Text { text: "hi".into() }.encode_to_vec();
    let meant: Vec<i64> = (1..=101).collect();
    let (command, content) = said::todays(MessageType::MtText, text.into(), &meant).unwrap();
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
    assert_eq!(pushed(&Today { room_id: 77, seq: 0, ..by_user(command, Bytes::new()) }), None);
    let large = Today { group_id: 8, group_seq: 4, seq: 0, ..by_user(command, Bytes::new()) };
    assert_eq!(pushed(&large).unwrap().receiver_type(), ReceiverType::RtLargeGroup);
    let subscribe = wire::Input { r#type: 5, request_id: 1, ..wire::Input::default() }.encode_to_vec();
    assert!(PACKETS.read(&subscribe, &mut Scratch::default()).unwrap().command < 0);
}

#[test]
fn a_number_of_the_server_that_is_none_of_its_news_is_no_command() {
    for command in [100, 101, 102, 111 + 8] {
        let message = Today { command, content: "x".into(), seq: 1, ..Today::default() };
        assert_eq!(pushed(&message).unwrap().message_type(), MessageType::MtCustom, "{command}");
    }
}

/// Whatever apps of then may have sent that shows something.
fn any_content() -> impl Strategy<Value = (MessageType, Vec<u8>)> {
    let word = "[a-zé😀 ]{0,12}";
    let url = prop_oneof![Just(String::new()), "https?://a[.]example/[a-z]{0,9}", "/[a-z/]{0,9}"];
    let place = (-90.0..90.0, -180.0..180.0);
    let medium = (word, any::<u16>(), any::<u16>(), url.clone(), url, any::<i64>());
    prop_oneof![
        word.prop_map(|text| (MessageType::MtText, Text { text }.encode_to_vec())),
        (any::<i64>(), "(https://a[.]example/[a-z]{0,9})?")
            .prop_map(|(face_id, face_url)| (MessageType::MtFace, Face { face_id, face_url }.encode_to_vec())),
        medium.clone().prop_map(|(id, size, duration, url, ..)| {
            let (size, duration) = (size.into(), duration.into());
            (MessageType::MtVoice, Voice { id, size, duration, url }.encode_to_vec())
        }),
        medium.clone().prop_map(|(id, width, height, url, thumbnail_url, _)| {
            let (width, height) = (width.into(), height.into());
            (MessageType::MtImage, Image { id, width, height, url, thumbnail_url }.encode_to_vec())
        }),
        medium.prop_map(|(name, size, _, url, _, id)| {
            let name = format!("f{name}");
            (MessageType::MtFile, File { id, name, size: size.into(), url }.encode_to_vec())
        }),
        (word, place).prop_map(|(desc, (latitude, longitude))| {
            (MessageType::MtLocation, Location { desc, latitude, longitude }.encode_to_vec())
        }),
        (any::<i32>(), any::<Vec<u8>>())
            .prop_map(|(code, data)| (MessageType::MtCommand, Command { code, data: data.into() }.encode_to_vec())),
        word.prop_map(|data| (MessageType::MtCustom, Custom { data }.encode_to_vec())),
    ]
}

proptest! {
    #[test]
    fn whatever_was_said_then_comes_back_as_it_was_or_is_refused((message_type, content) in any_content()) {
        let todays = said::todays(message_type, content.clone().into(), &[]);
        if let Ok((command, todays)) = todays && typed_content::check(command, &todays).is_ok() {
            let message = pushed(&by_user(command, todays)).unwrap();
            prop_assert_eq!((message.message_type(), &message.message_content[..]), (message_type, &content[..]));
        }
    }

    #[test]
    fn whatever_is_said_now_is_what_an_app_of_then_can_read(
        command in 199i32..300, content in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let message = pushed(&by_user(command, content.into())).unwrap();
        let content = &message.message_content[..];
        let is_readable = match message.message_type() {
            MessageType::MtText => Text::decode(content).is_ok(),
            MessageType::MtFace => Face::decode(content).is_ok(),
            MessageType::MtVoice => Voice::decode(content).is_ok(),
            MessageType::MtImage => Image::decode(content).is_ok(),
            MessageType::MtFile => File::decode(content).is_ok(),
            MessageType::MtLocation => Location::decode(content).is_ok(),
            MessageType::MtCommand => Command::decode(content).is_ok(),
            MessageType::MtCustom => Custom::decode(content).is_ok(),
            MessageType::MtUnknown => false,
        };
        prop_assert!(is_readable);
    }

    #[test]
    fn whatever_is_stored_is_told(command in 0i32..300, content in proptest::collection::vec(any::<u8>(), 0..60), seq in 1u64..) {
        let told = pushed(&Today { command, content: content.into(), seq, is_from_user: true, ..Today::default() });
        prop_assert_eq!(told.map(|message| message.seq), Some(seq as i64));
    }
}
