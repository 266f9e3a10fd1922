//! What is rewritten, held against the dialect's own messages.

use gim_proto::{
    CloseReason, ResultCode,
    connect::{
        CloseNotice, Message as Today, MessageCommand, MessageStatus, Packet as TodaysPacket, PacketCommand, Reply,
        SignInRequest as TodaysSignIn,
    },
    logic::{self as todays, MemberType, RemoveGroupMemberPush},
};
use proptest::prelude::*;
use prost::Message as _;

use super::{
    packets::Frames,
    wire::{
        connect::{Command, Message, SignInRequest},
        logic::{self, User, UserMessagePush},
    },
};
use crate::packets::{Packet, Packets as _, Scratch, UNKNOWN, asked_as};

fn card() -> todays::User {
    todays::User { user_id: 5, device_id: 6, nickname: "n".into(), avatar_url: "a".into(), extra: "e".into() }
}

fn old_card() -> User {
    User { user_id: 5, device_id: 6, nickname: "n".into(), avatar_url: "a".into(), extra: "e".into() }
}

fn written(command: PacketCommand, request_id: &str, content: &[u8]) -> Option<Message> {
    let mut frame = Vec::new();
    let is_said = Frames.write(&Packet { request_id, command: command as i32, content }, &mut frame);
    assert!(is_said || frame.is_empty());
    is_said.then(|| Message::decode(&frame[..]).unwrap())
}

fn pushed(message: &Today) -> Option<Message> {
    written(PacketCommand::PcMessage, "", &message.encode_to_vec())
}

/// A message of a user to another one.
fn said(command: i32) -> Today {
    let push = todays::UserMessagePush { from_user: Some(card()), to_user_id: 9, content: "hi".into() };
    let (content, is_from_user) = (push.encode_to_vec().into(), true);
    Today { command, content, seq: 7, prev_seq: 6, created_at: 100, message_id: 3, is_from_user, ..Today::default() }
}

fn read(message: &Message, check: impl FnOnce(Packet<'_>)) {
    let (frame, mut scratch) = (message.encode_to_vec(), Scratch::default());
    check(Frames.read(&frame, &mut scratch).unwrap());
}

#[test]
fn a_sign_in_has_its_ids_in_todays_order() {
    let content = SignInRequest { device_id: 2, user_id: 1, token: "t".into() }.encode_to_vec().into();
    let message = Message { request_id: "r".into(), command: Command::SignIn as i32, content, ..Message::default() };
    read(&message, |packet| {
        assert_eq!((packet.request_id, packet.command), ("r", PacketCommand::PcSignIn as i32));
        let expected = TodaysSignIn { user_id: 1, device_id: 2, token: "t".into(), ..TodaysSignIn::default() };
        assert_eq!(TodaysSignIn::decode(packet.content).unwrap(), expected);
    });
}

#[test]
fn what_was_never_asked_then_cannot_be_asked_now() {
    for command in [0, 4, 5, 7, 10, 100, 1_000, i32::MAX, -5, i32::MIN] {
        let mut frame = Vec::new();
        read(&Message { request_id: "a/b".into(), command, ..Message::default() }, |packet| {
            assert_eq!(packet.command, UNKNOWN, "{command}");
            assert!(Frames.write(&packet, &mut frame));
        });
        let answer = Message::decode(&frame[..]).unwrap();
        assert_eq!((answer.request_id.as_str(), answer.command), ("a/b", command), "its answer repeats what was asked");
    }
}

#[test]
fn an_answer_repeats_the_request_and_newer_clients_read_refusals_too() {
    let reply = |code| Reply { code, message: "m".into(), data: "d".into() }.encode_to_vec();
    let done = written(PacketCommand::PcSubscribeRoom, "r", &reply(0)).unwrap();
    assert_eq!((done.request_id.as_str(), done.command(), done.code), ("r", Command::SubscribeRoom, 0));
    assert_eq!((&done.content[..], done.message.as_str()), (&b"d"[..], "m"));
    let refused = written(PacketCommand::PcSignIn, "r", &reply(10_000)).unwrap();
    let sentence = "m; this port is for clients of 2025-08".to_owned();
    assert_eq!((refused.code, refused.message), (10_000, sentence.clone()));
    let todays = Reply::decode(refused.content).unwrap();
    assert_eq!((todays.code, todays.message), (10_000, sentence));
    let wrong = written(PacketCommand::PcSignIn, "r", &reply(10_001)).unwrap();
    assert_eq!((wrong.code, wrong.message.as_str()), (10_001, "m"));
    let beat = written(PacketCommand::PcHeartbeat, "", b"").unwrap();
    assert_eq!(beat, Message { command: Command::Heartbeat as i32, ..Message::default() });
}

#[test]
fn a_goodbye_is_a_code_and_a_sentence() {
    let notice = |reason: CloseReason| CloseNotice { reason: reason as i32, message: "m".into(), ..Default::default() };
    let reasons =
        [(CloseReason::CrBadFrame, 10_001), (CloseReason::CrKicked, 10_000), (CloseReason::CrServerDraining, 10_004)];
    for (reason, code) in reasons {
        let said = written(PacketCommand::PcClose, "", &notice(reason).encode_to_vec()).unwrap();
        assert_eq!((said.command(), said.code, said.message.as_str()), (Command::Unknown, code, "m"));
    }
    assert_eq!(written(PacketCommand::PcSyncHint, "", b""), None);
}

#[test]
fn who_says_something_stands_under_the_numbers_of_then() {
    let message = pushed(&said(MessageCommand::McUserMessage as i32)).unwrap();
    assert_eq!((message.command(), message.seq, message.created_at), (Command::UserMessage, 7, 100));
    let expected = UserMessagePush { from_user: Some(old_card()), content: "hi".into() };
    assert_eq!(UserMessagePush::decode(message.content).unwrap(), expected);

    let push = todays::GroupMessagePush { from_user: Some(card()), group_id: 8, content: "hi".into() };
    let command = MessageCommand::McGroupMessage as i32;
    let to_group = Today { command, content: push.encode_to_vec().into(), group_id: 8, ..said(command) };
    let message = pushed(&to_group).unwrap();
    assert_eq!(message.command(), Command::GroupMessage);
    let expected = logic::GroupMessagePush { from_user: Some(old_card()), group_id: 8, content: "hi".into() };
    assert_eq!(logic::GroupMessagePush::decode(message.content).unwrap(), expected);
}

#[test]
fn in_a_room_content_is_what_was_said_and_has_no_command_of_then() {
    // Plain, under a number of the server's where the settings let users take one, and under those of requests.
    for (command, told) in [(2_001, 2_001), (200, 200), (1, 0), (101, 0), (110, 0), (3, 0)] {
        let message = pushed(&Today { room_id: 77, seq: 0, ..said(command) }).unwrap();
        assert_eq!((message.command, message.room_id, &message.content[..]), (told, 77, &b"hi"[..]), "{command}");
    }
}

#[test]
fn no_message_has_the_command_of_an_answer() {
    let message = pushed(&said(Command::SubscribeRoom as i32)).unwrap();
    assert_eq!((message.command(), message.seq), (Command::Unknown, 7));
}

#[test]
fn a_refusal_of_today_says_the_same_to_those_who_read_it_as_theirs() {
    let reply = Reply { code: 10_000, message: "m".into(), ..Reply::default() };
    let (request_id, command) = ("r".to_owned(), PacketCommand::PcSignIn as i32);
    let packet = TodaysPacket { request_id, command, content: reply.encode_to_vec().into(), seq: 0 };
    let mut frame = packet.encode_to_vec();
    Frames.put_wrong_port(ResultCode::BadRequest, "whose", &mut frame);
    assert_eq!(TodaysPacket::decode(&frame[..]).unwrap(), packet);
    let heard = Message::decode(&frame[..]).unwrap();
    assert_eq!((heard.request_id.as_str(), heard.command()), ("r", Command::SignIn));
    assert_eq!((heard.code, heard.message.as_str()), (10_001, "whose"));
}

#[test]
fn what_there_was_no_word_for_keeps_its_seq_or_is_not_said() {
    let typed = pushed(&said(MessageCommand::McText as i32)).unwrap();
    assert_eq!((typed.command, typed.seq), (MessageCommand::McText as i32, 7));
    assert_eq!(UserMessagePush::decode(typed.content).unwrap().from_user, Some(old_card()));
    let command = MessageCommand::McUserMessage as i32;
    let recalled = Today { status: MessageStatus::MsRecalled as i32, command, seq: 8, ..Today::default() };
    assert_eq!(pushed(&recalled).unwrap(), Message { seq: 8, ..Message::default() });
    for command in [MessageCommand::McConversation, MessageCommand::McRead] {
        assert_eq!(pushed(&Today { command: command as i32, ..Today::default() }), None);
        assert!(pushed(&Today { command: command as i32, seq: 1, ..Today::default() }).is_some());
    }
}

#[test]
fn members_have_their_names_in_the_group_as_remarks() {
    let (nickname, r#type) = ("n".to_owned(), MemberType::MtAdmin as i32);
    let member = todays::GroupMember { user_id: 4, nickname, r#type, extra: "e".into(), ..Default::default() };
    let push = todays::AddGroupMembersPush { opt_id: 1, opt_name: "o".into(), members: vec![member] };
    let (command, content) = (MessageCommand::McAddGroupMembers as i32, push.encode_to_vec().into());
    let message = pushed(&Today { command, content, seq: 1, ..Today::default() }).unwrap();
    let push = logic::AddGroupMembersPush::decode(message.content).unwrap();
    let expected = logic::GroupMember {
        user_id: 4,
        remarks: "n".into(),
        member_type: logic::MemberType::GmtAdmin as i32,
        extra: "e".into(),
        ..logic::GroupMember::default()
    };
    assert_eq!((push.opt_id, push.opt_name.as_str(), push.members), (1, "o", vec![expected]));

    let left =
        RemoveGroupMemberPush { opt_id: 1, deleted_user_id: 2, deleted_user_ids: vec![2, 3], ..Default::default() };
    let (command, content) = (MessageCommand::McRemoveGroupMember as i32, left.encode_to_vec().into());
    let message = pushed(&Today { command, content, seq: 1, ..Today::default() }).unwrap();
    assert_eq!(logic::RemoveGroupMemberPush::decode(message.content).unwrap().deleted_user_id, 2);
}

proptest! {
    #[test]
    fn frames_are_judged_as_prost_judges_them(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut scratch = Scratch::default();
        let read = Frames.read(&bytes, &mut scratch);
        if let (Ok(packet), Ok(message)) = (&read, Message::decode(&bytes[..])) {
            if packet.command == UNKNOWN {
                prop_assert_eq!(asked_as(packet.request_id), (message.command, &message.request_id[..]));
            } else {
                prop_assert_eq!(packet.request_id, message.request_id);
            }
        }
    }

    #[test]
    fn whatever_is_said_becomes_a_message(command in 0i32..12, content in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut frame = Vec::new();
        if Frames.write(&Packet { request_id: "r", command, content: &content }, &mut frame) {
            prop_assert!(Message::decode(&frame[..]).is_ok() || String::from_utf8(content).is_err());
        } else {
            prop_assert!(frame.is_empty());
        }
    }
}
