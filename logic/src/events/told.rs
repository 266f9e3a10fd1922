//! How what happened is told: which kind of event it is, whether it is wanted, and its JSON. Pure.
//!
//! Ids are strings, as JSON has no numbers of 64 bits. Part 15 of the protocol has the table.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use gim_config::grpc::{Schema, SchemaError};
use gim_proto::{connect::MessageCommand, logic::Event, typed_content};
use serde_json::{Map, Value, json};

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
    /// What the table of the protocol says of it.
    pub data: Value,
}

impl ToldEvent {
    /// A call of the webhook with these: its id, and its body.
    pub fn call<'a>(name: &str, events: impl ExactSizeIterator<Item = &'a Self>) -> (String, Bytes) {
        let events: Vec<Value> = events.map(Self::json).collect();
        let id_of = |event: Option<&Value>| event.and_then(|event| event["id"].as_str()).unwrap_or_default().to_owned();
        let id = format!("{name}-{}-{}", id_of(events.first()), id_of(events.last()));
        let timestamp = events.last().map_or(Value::Null, |event| event["timestamp"].clone());
        let body = json!({ "type": "events", "timestamp": timestamp, "data": { "events": events } });
        (id, body.to_string().into())
    }

    /// As streams get it.
    pub fn to_wire(&self) -> Event {
        let timestamp_ms = message_id::time_ms(self.id);
        Event { id: self.id, r#type: self.kind.name().into(), timestamp_ms, data: self.data.to_string() }
    }

    fn json(&self) -> Value {
        let timestamp = clock::rfc3339(message_id::time_ms(self.id));
        json!({ "id": self.id.to_string(), "type": self.kind.name(), "timestamp": timestamp, "data": self.data })
    }
}

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

    fn message(&self, message: &Message, receivers: Option<&[u64]>) -> Value {
        let content = message.said();
        let mut data = head(message);
        if message.sender_id != 0 {
            data.insert("sender_id".into(), id(message.sender_id));
        }
        if message.group_id != 0 {
            data.insert("group_id".into(), id(message.group_id));
        } else if let Some(receivers) = receivers {
            let is_other =
                |user_id: &&u64| message.sender_id == 0 || receivers.len() == 1 || **user_id != message.sender_id;
            data.insert("user_ids".into(), receivers.iter().filter(is_other).map(|&user_id| id(user_id)).collect());
        }
        if message.is_recalled() {
            data.insert("is_recalled".into(), true.into());
            return data.into();
        }
        if let Some(name) = content_name(message.command)
            && let Some(typed) = self.schema.message_json(name, &content)
        {
            data.insert("typed_content".into(), typed);
        }
        let words = self.words.flagged(message);
        if !words.is_empty() {
            data.insert("words".into(), words.into());
        }
        if typed_content::COMMANDS.contains(&message.command) {
            data.insert("preview".into(), typed_content::preview(message.command, content.clone()).into());
        }
        data.insert("content".into(), BASE64_STANDARD.encode(&content).into());
        data.into()
    }

    fn change(&self, message: &Message) -> Value {
        let mut data = head(message);
        data.insert("group_id".into(), id(message.group_id));
        let (change, name) = match MessageCommand::try_from(message.command) {
            Ok(MessageCommand::McAddGroupMembers) => ("members_added", "logic.AddGroupMembersPush"),
            Ok(MessageCommand::McRemoveGroupMember) => ("members_removed", "logic.RemoveGroupMemberPush"),
            _ => ("updated", "logic.UpdateGroupPush"),
        };
        data.insert("change".into(), change.into());
        data.extend(self.schema.message_json(name, &message.content).map(|details| ("details".into(), details)));
        data.into()
    }
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

fn head(message: &Message) -> Map<String, Value> {
    let mut data = Map::new();
    data.insert("message_id".into(), id(message.id));
    data.insert("command".into(), message.command.into());
    data.insert("created_at_ms".into(), message.created_at_ms.into());
    data
}

fn recalled(recall: &Recall) -> Value {
    let mut data = Map::new();
    data.insert("message_id".into(), id(recall.message_id));
    data.insert("sender_id".into(), id(recall.sender_id));
    if recall.group_id != 0 {
        data.insert("group_id".into(), id(recall.group_id));
    } else {
        let others =
            recall.receivers.iter().filter(|user_id| recall.receivers.len() == 1 || **user_id != recall.sender_id);
        data.insert("user_ids".into(), others.map(|&user_id| id(user_id)).collect());
    }
    data.into()
}

fn position(read: &StoredRead) -> Value {
    let (peer, peer_id) = match read.peer {
        Peer::User(user_id) => ("peer_user_id", user_id),
        Peer::Group(group_id) => ("group_id", group_id),
    };
    json!({
        "user_id": id(read.user_id), peer: id(peer_id), "seq": id(read.seq), "message_id": id(read.message_id),
    })
}

fn id(id: u64) -> Value {
    id.to_string().into()
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

    #[test]
    fn a_message_is_told_with_ids_as_strings_and_what_it_says() {
        let teller = teller();
        let event = teller.tell(&stored(text(7, 0), &[7, u64::MAX >> 1])).unwrap().json();
        assert_eq!((&event["type"], &event["id"]), (&json!("message.stored"), &json!("1099511627776")));
        assert_eq!(event["timestamp"], "2024-01-01T00:04:22.144Z");
        let data = &event["data"];
        assert_eq!((&data["sender_id"], &data["user_ids"]), (&json!("7"), &json!(["9223372036854775807"])));
        assert_eq!((&data["typed_content"], &data["preview"]), (&json!({ "text": "hello" }), &json!("hello")));
        assert_eq!(data["content"], BASE64_STANDARD.encode(b"\x0a\x05hello"));
        let recalled = teller.tell(&stored(text(7, 0).recalled(), &[7])).unwrap().json();
        assert_eq!((&recalled["data"]["is_recalled"], &recalled["data"]["user_ids"]), (&json!(true), &json!(["7"])));
        assert!(recalled["data"].get("content").is_none());
    }

    #[test]
    fn a_message_that_a_list_flags_names_the_words_as_the_list_has_them() {
        let teller = teller();
        teller.words.put(&[(WordAction::Flag, "Hello\n".into())]).unwrap();
        assert_eq!(teller.tell(&stored(text(7, 0), &[7, 8])).unwrap().data["words"], json!(["Hello"]));
        let of_a_service = teller.tell(&stored(text(0, 0), &[8])).unwrap();
        assert!(of_a_service.data.get("words").is_none(), "nobody filters it");
        teller.words.put(&[(WordAction::Mask, "hello\n".into())]).unwrap();
        assert!(teller.tell(&stored(text(7, 0), &[7, 8])).unwrap().data.get("words").is_none());
    }

    #[test]
    fn only_what_the_settings_want_is_told() {
        let all = teller();
        let teller = all.choosing(vec![EventKind::MessageStored], vec![EventGroups::Normal]);
        assert!(teller.tell(&stored(text(7, 9), &[])).is_none(), "a large group");
        assert!(teller.tell(&stored(text(7, 0), &[8])).is_some());
        let read = StoredRead { id: 3, user_id: 7, peer: Peer::Group(9), seq: 4, message_id: 2 };
        assert!(teller.tell(&StoredEvent::Read(read)).is_none());
        let data = all.tell(&StoredEvent::Read(read)).unwrap().data;
        assert_eq!(data, json!({ "user_id": "7", "group_id": "9", "seq": "4", "message_id": "2" }));
        let command = MessageCommand::McRemoveGroupMember as i32;
        let change = all.tell(&stored(Message { command, content: [][..].into(), ..text(0, 9) }, &[])).unwrap();
        assert_eq!((change.kind, &change.data["change"]), (EventKind::GroupChanged, &json!("members_removed")));
    }
}
