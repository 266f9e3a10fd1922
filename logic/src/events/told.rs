//! How what happened is told: which kind of event it is, whether it is wanted, and its JSON. Pure.
//!
//! An event is written once, as the text in which it leaves: there may be tens of thousands a second. Ids are strings, as JSON has no numbers
//! of 64 bits. Part 15 of the protocol has the table.

use std::borrow::Borrow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use gim_config::grpc::{Schema, SchemaError};
use gim_proto::{connect::MessageCommand, logic::Event, typed_content};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::{
    clients::word_lists::WordLists,
    domain::{
        clock,
        conversation::Peer,
        group::Kind,
        message::Message,
        message_id,
        stored_event::{Recall, StoredEvent, StoredRead},
    },
    settings::{EventGroups, EventKind},
};

/// What happened, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldEvent {
    /// As that of a message.
    pub id: u64,
    /// Which kind.
    pub kind: EventKind,
    /// What the table of the protocol says of it, in JSON.
    pub data: String,
}

impl ToldEvent {
    /// A call of the webhook with these: its id, and its body.
    pub fn call<E: Borrow<Self>>(name: &str, events: &[E]) -> (String, Bytes) {
        let id_of = |event: Option<&E>| event.map(|event| event.borrow().id.to_string()).unwrap_or_default();
        let id = format!("{name}-{}-{}", id_of(events.first()), id_of(events.last()));
        let bytes = events.iter().map(|event| event.borrow().data.len() + AROUND_DATA_BYTES).sum::<usize>();
        let mut body = String::with_capacity(bytes + AROUND_DATA_BYTES);
        body.push_str(r#"{"data":{"events":["#);
        let mut timestamp = String::new();
        for (place, event) in events.iter().map(Borrow::borrow).enumerate() {
            timestamp = clock::rfc3339(message_id::time_ms(event.id));
            let id = event.id.to_string();
            let before = if place == 0 { r#"{"data":"# } else { r#",{"data":"# };
            let parts = [before, &event.data, r#","id":""#, &id, r#"","timestamp":""#, &timestamp, r#"","type":""#];
            parts.iter().for_each(|part| body.push_str(part));
            body.push_str(event.kind.name());
            body.push_str(r#""}"#);
        }
        body.push_str(r#"]},"timestamp":""#);
        body.push_str(&timestamp);
        body.push_str(r#"","type":"events"}"#);
        (id, body.into())
    }

    /// As streams get it.
    pub fn to_wire(&self) -> Event {
        let timestamp_ms = message_id::time_ms(self.id);
        Event { id: self.id, r#type: self.kind.name().into(), timestamp_ms, data: self.data.clone() }
    }
}

/// About so long is what stands around the data of an event in a call.
const AROUND_DATA_BYTES: usize = 128;

/// Says what happened.
#[derive(Debug, Clone)]
pub struct Teller {
    kinds: Vec<EventKind>,
    group_kinds: Vec<EventGroups>,
    schema: Schema,
    words: WordLists,
}

impl Teller {
    /// Of everything, and of the words for which these lists flag a message.
    pub fn new(words: WordLists) -> Result<Self, SchemaError> {
        let (kinds, group_kinds) = (EventKind::all().collect(), EventGroups::ALL.to_vec());
        Ok(Self { kinds, group_kinds, schema: Schema::new(gim_proto::FILE_DESCRIPTOR_SET)?, words })
    }

    /// The same of these kinds alone, and of groups of these kinds.
    pub fn choosing(&self, kinds: Vec<EventKind>, group_kinds: Vec<EventGroups>) -> Self {
        Self { kinds, group_kinds, ..self.clone() }
    }

    /// Whether this kind is wanted.
    pub fn wants(&self, kind: EventKind) -> bool {
        self.kinds.contains(&kind)
    }

    /// The event, if it is wanted.
    pub fn tell(&self, event: &StoredEvent) -> Option<ToldEvent> {
        let kind = kind(event);
        if !self.wants(kind) || !self.wants_group(event) {
            return None;
        }
        let data = match event {
            StoredEvent::Message { message, .. } if kind == EventKind::GroupChanged => self.change(message),
            StoredEvent::Message { message, receivers, .. } => self.message(message, receivers.as_deref()),
            StoredEvent::Recall(recall) => recalled(recall),
            StoredEvent::Read(read) => position(read),
        };
        Some(ToldEvent { id: event.id(), kind, data })
    }

    /// What is known of no group is wanted.
    fn wants_group(&self, event: &StoredEvent) -> bool {
        let StoredEvent::Message { group_kind, .. } = event else { return true };
        group_kind.is_none_or(|kind| {
            self.group_kinds.contains(match kind {
                Kind::Normal => &EventGroups::Normal,
                Kind::Large => &EventGroups::Large,
            })
        })
    }

    fn message(&self, message: &Message, receivers: Option<&[u64]>) -> String {
        let mut told = ToldMessage::of(message);
        told.sender_id = (message.sender_id != 0).then_some(Id(message.sender_id));
        if message.group_id != 0 {
            told.group_id = Some(Id(message.group_id));
        } else if let Some(receivers) = receivers {
            let is_other =
                |user_id: &&u64| message.sender_id == 0 || receivers.len() == 1 || **user_id != message.sender_id;
            told.user_ids = Some(receivers.iter().filter(is_other).map(|&user_id| Id(user_id)).collect());
        }
        if message.is_recalled() {
            told.is_recalled = Some(true);
            return text(&told);
        }
        let content = message.said();
        if let Some(name) = content_name(message.command) {
            told.typed_content = self.schema.message_json(name, &content);
        }
        told.words = self.words.flagged(message);
        if typed_content::COMMANDS.contains(&message.command) {
            told.preview = Some(typed_content::preview(message.command, content.clone()));
        }
        told.content = Some(BASE64_STANDARD.encode(&content));
        text(&told)
    }

    fn change(&self, message: &Message) -> String {
        let mut told = ToldMessage::of(message);
        told.group_id = Some(Id(message.group_id));
        let (change, name) = match MessageCommand::try_from(message.command) {
            Ok(MessageCommand::McAddGroupMembers) => ("members_added", "logic.AddGroupMembersPush"),
            Ok(MessageCommand::McRemoveGroupMember) => ("members_removed", "logic.RemoveGroupMemberPush"),
            _ => ("updated", "logic.UpdateGroupPush"),
        };
        told.change = Some(change);
        told.details = self.schema.message_json(name, &message.content);
        text(&told)
    }
}

/// A message, as far as it is told.
#[derive(Debug, Default, Serialize)]
struct ToldMessage {
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'static str>,
    command: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    created_at_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_recalled: Option<bool>,
    message_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_id: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    typed_content: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_ids: Option<Vec<Id>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    words: Vec<String>,
}

impl ToldMessage {
    fn of(message: &Message) -> Self {
        let (message_id, created_at_ms) = (Id(message.id), message.created_at_ms);
        Self { message_id, command: message.command, created_at_ms, ..Self::default() }
    }
}

/// A number of 64 bits.
#[derive(Debug, Default, Clone, Copy)]
struct Id(u64);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Nothing of this kind fails to be written.
fn text(told: &impl Serialize) -> String {
    serde_json::to_string(told).unwrap_or_else(|_| "{}".into())
}

/// What it is.
fn kind(event: &StoredEvent) -> EventKind {
    match event {
        StoredEvent::Message { message, .. } if is_change(message) => EventKind::GroupChanged,
        StoredEvent::Message { .. } => EventKind::MessageStored,
        StoredEvent::Recall(_) => EventKind::MessageRecalled,
        StoredEvent::Read(_) => EventKind::ConversationRead,
    }
}

/// The server tells members of a change by a message that nobody sent.
fn is_change(message: &Message) -> bool {
    let commands =
        [MessageCommand::McUpdateGroup, MessageCommand::McAddGroupMembers, MessageCommand::McRemoveGroupMember];
    message.sender_id == 0 && message.group_id != 0 && commands.iter().any(|&command| command as i32 == message.command)
}

fn recalled(recall: &Recall) -> String {
    let mut data = json!({ "message_id": Id(recall.message_id), "sender_id": Id(recall.sender_id) });
    if recall.group_id != 0 {
        data["group_id"] = json!(Id(recall.group_id));
    } else {
        let others =
            recall.receivers.iter().filter(|user_id| recall.receivers.len() == 1 || **user_id != recall.sender_id);
        data["user_ids"] = others.map(u64::to_string).collect();
    }
    data.to_string()
}

fn position(read: &StoredRead) -> String {
    let (peer, peer_id) = match read.peer {
        Peer::User(user_id) => ("peer_user_id", user_id),
        Peer::Group(group_id) => ("group_id", group_id),
    };
    let data = json!({
        "user_id": Id(read.user_id), peer: Id(peer_id), "seq": Id(read.seq), "message_id": Id(read.message_id),
    });
    data.to_string()
}

/// The protobuf message of a typed content.
fn content_name(command: i32) -> Option<&'static str> {
    Some(match MessageCommand::try_from(command).ok()? {
        MessageCommand::McText => "content.Text",
        MessageCommand::McSticker => "content.Sticker",
        MessageCommand::McGif => "content.Gif",
        MessageCommand::McImage => "content.Image",
        MessageCommand::McVoice => "content.Voice",
        MessageCommand::McVideo => "content.Video",
        MessageCommand::McFile => "content.File",
        MessageCommand::McLocation => "content.Location",
        MessageCommand::McContactCard => "content.ContactCard",
        MessageCommand::McMergedForward => "content.MergedForward",
        MessageCommand::McReply => "content.Reply",
        MessageCommand::McCustom => "content.Custom",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use gim_proto::content::Text;
    use prost::Message as _;

    use super::*;
    use crate::{domain::word_filter::WordAction, settings::WordFilterSettings};

    fn teller() -> Teller {
        Teller::new(WordLists::new(&WordFilterSettings::default()).unwrap()).unwrap()
    }

    fn stored(message: Message, receivers: &[u64]) -> StoredEvent {
        let group_kind = (message.group_id != 0).then_some(Kind::Large);
        StoredEvent::Message { message, receivers: Some(receivers.to_vec()), group_kind }
    }

    fn text(sender_id: u64, group_id: u64) -> Message {
        let content = Text { text: "hello".into(), ..Text::default() }.encode_to_vec();
        let command = MessageCommand::McText as i32;
        Message { id: 1 << 40, group_id, created_at_ms: 5, ..Message::unnumbered(command, content.into(), sender_id) }
    }

    /// Events of a call that is made of these alone.
    fn called(events: &[ToldEvent]) -> (String, Vec<Value>) {
        let (id, body) = ToldEvent::call("events", events);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["type"], body.as_object().unwrap().len()), (&json!("events"), 3));
        let events = body["data"]["events"].as_array().unwrap().clone();
        assert_eq!(body["timestamp"], events.last().unwrap()["timestamp"]);
        (id, events)
    }

    fn json_of(event: ToldEvent) -> Value {
        called(&[event]).1.remove(0)
    }

    fn data_of(event: &ToldEvent) -> Value {
        serde_json::from_str(&event.data).unwrap()
    }

    #[test]
    fn a_call_has_its_events_in_order_and_the_first_and_last_in_its_id() {
        let teller = teller();
        let told = |id| teller.tell(&stored(Message { id, ..text(7, 0) }, &[7, 8])).unwrap();
        let (id, events) = called(&[told(1 << 40), told(1 << 41), told(1 << 42)]);
        assert_eq!(id, "events-1099511627776-4398046511104");
        assert_eq!(
            events.iter().map(|event| event["id"].as_str().unwrap()).collect::<Vec<_>>(),
            ["1099511627776", "2199023255552", "4398046511104"]
        );
        assert!(
            events
                .iter()
                .all(|event| event["data"]["message_id"] == event["id"] && event["data"]["user_ids"] == json!(["8"]))
        );
    }

    #[test]
    fn a_message_is_told_with_ids_as_strings_and_what_it_says() {
        let teller = teller();
        let event = json_of(teller.tell(&stored(text(7, 0), &[7, u64::MAX >> 1])).unwrap());
        assert_eq!((&event["type"], &event["id"]), (&json!("message.stored"), &json!("1099511627776")));
        assert_eq!(event["timestamp"], "2024-01-01T00:04:22.144Z");
        let data = &event["data"];
        assert_eq!((&data["sender_id"], &data["user_ids"]), (&json!("7"), &json!(["9223372036854775807"])));
        assert_eq!((&data["typed_content"], &data["preview"]), (&json!({ "text": "hello" }), &json!("hello")));
        assert_eq!(data["content"], BASE64_STANDARD.encode(b"\x0a\x05hello"));
        let recalled = json_of(teller.tell(&stored(text(7, 0).recalled(), &[7])).unwrap());
        assert_eq!((&recalled["data"]["is_recalled"], &recalled["data"]["user_ids"]), (&json!(true), &json!(["7"])));
        assert!(recalled["data"].get("content").is_none());
    }

    #[test]
    fn a_message_that_a_list_flags_names_the_words_as_the_list_has_them() {
        let teller = teller();
        teller.words.put(&[(WordAction::Flag, "Hello\n".into())]).unwrap();
        assert_eq!(data_of(&teller.tell(&stored(text(7, 0), &[7, 8])).unwrap())["words"], json!(["Hello"]));
        let of_a_service = teller.tell(&stored(text(0, 0), &[8])).unwrap();
        assert!(data_of(&of_a_service).get("words").is_none(), "nobody filters it");
        teller.words.put(&[(WordAction::Mask, "hello\n".into())]).unwrap();
        assert!(data_of(&teller.tell(&stored(text(7, 0), &[7, 8])).unwrap()).get("words").is_none());
    }

    #[test]
    fn only_what_the_settings_want_is_told() {
        let all = teller();
        let teller = all.choosing(vec![EventKind::MessageStored], vec![EventGroups::Normal]);
        assert!(teller.tell(&stored(text(7, 9), &[])).is_none(), "a large group");
        assert!(teller.tell(&stored(text(7, 0), &[8])).is_some());
        let read = StoredRead { id: 3, user_id: 7, peer: Peer::Group(9), seq: 4, message_id: 2 };
        assert!(teller.tell(&StoredEvent::Read(read)).is_none());
        let data = data_of(&all.tell(&StoredEvent::Read(read)).unwrap());
        assert_eq!(data, json!({ "user_id": "7", "group_id": "9", "seq": "4", "message_id": "2" }));
        let command = MessageCommand::McRemoveGroupMember as i32;
        let change = all.tell(&stored(Message { command, content: [][..].into(), ..text(0, 9) }, &[])).unwrap();
        assert_eq!((change.kind, &data_of(&change)["change"]), (EventKind::GroupChanged, &json!("members_removed")));
    }
}
