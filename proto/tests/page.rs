//! PROTOCOL.md cannot drift from what is so: the bytes of its session are decoded and compared with what it says of them, its
//! tables with the commands, codes and reasons that there are, and its limits with the settings files.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{collections::BTreeSet, fs, mem, path::Path};

use gim_proto::{CloseReason, ResultCode, connect::PacketCommand, typed_content};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, ReflectMessage as _, Value};
use toml::Table;

const PAGE: &str = include_str!("../PROTOCOL.md");

/// The lines of a part, which begins with its number.
fn part(number: u32) -> impl Iterator<Item = &'static str> {
    let begins = format!("## {number}. ");
    let lines = PAGE.lines().skip_while(move |line| !line.starts_with(&begins)).skip(1);
    lines.take_while(|line| !line.starts_with("## "))
}

/// The cells of the tables in a part whose first cell is a number.
fn numbered_rows(number: u32) -> Vec<(i32, Vec<&'static str>)> {
    let rows = part(number).map(cells).filter_map(|cells| Some((cells.first()?.parse().ok()?, cells)));
    rows.collect()
}

fn cells(line: &'static str) -> Vec<&'static str> {
    line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn the_tables_list_every_command_code_and_reason() {
    let commands: Vec<_> = numbered_rows(2).into_iter().map(|(number, cells)| (number, cells[1])).collect();
    let known = (1..).map_while(|number| PacketCommand::try_from(number).ok());
    assert_eq!(commands, known.map(|command| (command as i32, command.as_str_name())).collect::<Vec<_>>());

    let codes: Vec<_> = numbered_rows(4).into_iter().map(|(number, cells)| (number, cells[1], cells[2])).collect();
    let again = |code: ResultCode| if code.is_retryable() { "yes" } else { "no" };
    let known = ResultCode::ALL.iter().map(|&code| (code.number(), code.text(), again(code)));
    assert_eq!(codes, known.collect::<Vec<_>>());

    let reasons: Vec<_> = numbered_rows(5)
        .into_iter()
        .map(|(number, cells)| (number, cells[1], cells[2].starts_with("never sent")))
        .collect();
    let known =
        CloseReason::ALL.iter().map(|&reason| (reason as i32, reason.rule().label, !reason.rule().says_goodbye));
    assert_eq!(reasons, known.collect::<Vec<_>>());
}

#[test]
fn every_typed_content_is_listed_with_its_number_and_message() {
    let pool = DescriptorPool::decode(gim_proto::FILE_DESCRIPTOR_SET).unwrap();
    let commands = pool.get_enum_by_name("connect.MessageCommand").unwrap();
    let mut known = Vec::new();
    for command in commands.values().filter(|value| typed_content::COMMANDS.contains(&value.number())) {
        let words = command.name().trim_start_matches("MC_").split('_');
        let message: String = words.map(|word| format!("{}{}", &word[..1], word[1..].to_lowercase())).collect();
        let message = format!("content.{message}");
        assert!(pool.get_message_by_name(&message).is_some(), "{message}");
        // Bytes that are no message tell a number that is checked from one that only stands there.
        let problem = typed_content::check(command.number(), &vec![0xff].into()).unwrap_err();
        assert_eq!(problem.field, "content", "{problem}");
        known.push((command.number(), format!("`{}`", command.name()), format!("`{message}`")));
    }
    let listed =
        numbered_rows(13).into_iter().map(|(number, cells)| (number, cells[1].to_owned(), cells[2].to_owned()));
    assert_eq!(listed.collect::<Vec<_>>(), known);
}

#[test]
fn the_limits_are_the_defaults_of_the_settings() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let texts = ["conn", "logic", "business"]
        .map(|name| (name, fs::read_to_string(config.join(name).with_extension("toml")).unwrap()));
    let files = texts.each_ref().map(|(name, text)| (*name, text.parse::<Table>().unwrap()));
    let mut listed = BTreeSet::new();
    for cells in part(10).map(cells) {
        let [_, file, setting, default] = cells[..] else { continue };
        let Some((_, table)) = files.iter().find(|(name, _)| *name == file) else { continue };
        let (section, key) = setting.split_once('.').unwrap();
        let found = table.get(section).and_then(|section| section.get(key));
        assert_eq!(found.map(ToString::to_string).as_deref(), Some(default), "{setting} in {file}.toml");
        listed.insert(format!("{file} {setting}"));
    }
    assert!(listed.len() > 20, "only {} limits were found", listed.len());
    let mut refusing: BTreeSet<String> =
        texts.iter().flat_map(|(name, text)| refusing_settings(text).map(move |key| format!("{name} {key}"))).collect();
    assert!(refusing.remove("logic limits.push_all_max"), "only backends push to all");
    let missing: Vec<_> = refusing.difference(&listed).collect();
    assert!(missing.is_empty(), "clients may hear 10003 because of {missing:?}");
}

/// The settings that the comment before them makes a reason of 10003.
fn refusing_settings(text: &str) -> impl Iterator<Item = String> {
    let (mut section, mut comment) = (String::new(), String::new());
    text.lines().filter_map(move |line| {
        if let Some(words) = line.strip_prefix('#') {
            comment.push_str(words);
            return None;
        }
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
        }
        let comment = mem::take(&mut comment);
        let (key, _) = line.split_once(" = ")?;
        let refuses = comment.contains("10003") || comment.contains("too many requests");
        refuses.then(|| format!("{section}.{key}"))
    })
}

/// A packet of the session on the page.
struct Step {
    is_from_client: bool,
    bytes: Vec<u8>,
    /// What the page says of it.
    meaning: String,
}

fn session() -> Vec<Step> {
    let blocks = PAGE.split("```session\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let step = |block: &str| {
        let (sender, rest) = block.split_once('\n').unwrap();
        let (hex, meaning) = rest.split_at(rest.find("Packet").unwrap());
        let bytes = hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        assert!(["client", "server"].contains(&sender), "{sender}");
        Step { is_from_client: sender == "client", bytes, meaning: words(meaning) }
    };
    blocks.map(step).collect()
}

/// Without the line breaks of the page.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_bytes_of_the_session_say_what_the_page_says() {
    let session = session();
    assert!(session.len() > 10, "only {} packets were found", session.len());
    let pool = DescriptorPool::decode(gim_proto::FILE_DESCRIPTOR_SET).unwrap();
    for Step { is_from_client, bytes, meaning } in session {
        let mut body = &bytes[..];
        let length = prost::decode_length_delimiter(&mut body).unwrap();
        assert_eq!(body.len(), length, "the length before: {meaning}");
        let packet = DynamicMessage::decode(pool.get_message_by_name("connect.Packet").unwrap(), body).unwrap();
        let command = packet.get_field_by_name("command").unwrap().as_enum_number().unwrap();
        let reader = Reader { pool: &pool, is_from_client, command };
        assert_eq!(words(&reader.message(&packet)), meaning);
    }
}

/// Knows which message is inside of which bytes of a packet.
struct Reader<'a> {
    pool: &'a DescriptorPool,
    is_from_client: bool,
    command: i32,
}

impl Reader<'_> {
    fn message(&self, message: &DynamicMessage) -> String {
        let descriptor = message.descriptor();
        let fields = descriptor.fields().filter(|field| message.has_field(field));
        let fields: Vec<_> = fields
            .map(|field| format!("{}: {}", field.name(), self.value(message, &field, &message.get_field(&field))))
            .collect();
        format!("{} {{ {} }}", descriptor.name(), fields.join(", "))
    }

    fn value(&self, message: &DynamicMessage, field: &FieldDescriptor, value: &Value) -> String {
        match value {
            Value::List(values) => {
                let values: Vec<_> = values.iter().map(|value| self.value(message, field, value)).collect();
                format!("[{}]", values.join(", "))
            }
            Value::Message(inner) => self.message(inner),
            Value::Bytes(bytes) => match self.type_inside(message) {
                Some(name) => {
                    let descriptor = self.pool.get_message_by_name(name).unwrap();
                    self.message(&DynamicMessage::decode(descriptor, &bytes[..]).unwrap())
                }
                None => format!("\"{}\"", str::from_utf8(bytes).unwrap()),
            },
            Value::EnumNumber(number) => match field.kind() {
                Kind::Enum(list) => list.get_value(*number).map_or(number.to_string(), |value| value.name().to_owned()),
                _ => unreachable!("only enums have their numbers"),
            },
            Value::String(text) => format!("\"{text}\""),
            Value::U64(number) => number.to_string(),
            Value::I64(number) => number.to_string(),
            Value::U32(number) => number.to_string(),
            Value::I32(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            other => panic!("the page has no {other:?} yet"),
        }
    }

    /// What the bytes of a message hold, where that is a message.
    fn type_inside(&self, message: &DynamicMessage) -> Option<&'static str> {
        let number = |name: &str| message.get_field_by_name(name).and_then(|value| value.as_enum_number());
        match (message.descriptor().full_name(), self.command) {
            ("connect.Packet", 1) if self.is_from_client => Some("connect.SignInRequest"),
            ("connect.Packet", 3) if self.is_from_client => Some("connect.SubscribeRoomRequest"),
            ("connect.Packet", 5) if self.is_from_client => Some("logic.SyncRequest"),
            ("connect.Packet", 6) if self.is_from_client => Some("logic.MessageACKRequest"),
            ("connect.Packet", 7) if self.is_from_client => Some("connect.SendRequest"),
            ("connect.Packet", 4) => Some("connect.Message"),
            ("connect.Packet", 8) => Some("connect.CloseNotice"),
            ("connect.Packet", 1 | 3 | 5 | 6 | 7) => Some("connect.Reply"),
            ("connect.Reply", 5) => Some("logic.SyncReply"),
            ("connect.Reply", 7) => Some("connect.SendReply"),
            ("connect.Message", _) if number("command") == Some(1) => Some("logic.UserMessagePush"),
            ("connect.Message", _) if number("command") == Some(2) => Some("logic.GroupMessagePush"),
            _ => None,
        }
    }
}
