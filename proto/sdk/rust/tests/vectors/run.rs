//! One vector: what happens goes into the core, and what comes out of it is compared.

use std::collections::BTreeMap;

use bytes::Bytes;
use gim_client::{
    core::{
        About, Action, AppRequest, Core, CoreSettings, Cursors, Event, Located, NEVER, PendingSend, Remembered, Sent,
        StartAt, State,
    },
    message::{Message, MessageStatus, text_of},
    wire::Target,
};
use serde_json::{Map, Value, json};

use super::json::{bytes_of, decode};

const URL_OF_SERVER: &str = "ws://server/ws";
/// How long before a vector that begins signed in the connection came up: beyond the delay of acks.
const SIGNED_IN_MS: u64 = 3000;
/// Turns until a deadline that does not move on is a mistake.
const TURNS_MAX: usize = 1000;
/// The message in the content of a request, by its command; what is asked of a service is left as it is.
const REQUESTS: [(&str, &str); 5] = [
    ("PC_SIGN_IN", "SignInRequest"),
    ("PC_SUBSCRIBE_ROOM", "SubscribeRoomRequest"),
    ("PC_SYNC", "SyncRequest"),
    ("PC_MESSAGE_ACK", "MessageACKRequest"),
    ("PC_SEND", "SendRequest"),
];

#[derive(Default)]
struct Taken {
    packets: Vec<Value>,
    seen: Vec<Value>,
    rest: Map<String, Value>,
}

pub struct Run<'a> {
    vector: &'a Value,
    core: Core,
    now_ms: u64,
    names: BTreeMap<String, Value>,
    taken: Taken,
}

impl<'a> Run<'a> {
    pub fn new(vector: &'a Value) -> Self {
        let remembered = &vector["remembered"];
        let groups = remembered["groups"].as_object().into_iter().flatten();
        let cursors = Cursors {
            inbox: remembered["cursor"].as_u64(),
            groups: groups.map(|(id, seq)| (id.parse().unwrap(), seq.as_u64().unwrap())).collect(),
        };
        let texts = |value: &Value| {
            value.as_array().into_iter().flatten().map(|id| id.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let outbox = remembered["unsent"].as_array().into_iter().flatten().map(|send| pending_send(send, 0));
        let random = vector["random"].as_f64().unwrap_or(1.0);
        let settings = CoreSettings {
            user_id: 7,
            device_id: 70,
            app_id: 0,
            url: (vector["locates"] != true).then(|| URL_OF_SERVER.to_owned()),
            heartbeat_ms: None,
            answer_timeout_ms: 20_000,
            start_at: if vector["start_at"] == "first" { StartAt::First } else { StartAt::Devices },
            random: Box::new(move || random),
        };
        let cursor = cursors.inbox.unwrap_or(0);
        let delivered = texts(&remembered["delivered"]);
        let core = Core::new(settings, Remembered { cursors, outbox: outbox.collect(), delivered }, 0);
        let mut run = Self { vector, core, now_ms: 0, names: BTreeMap::new(), taken: Taken::default() };
        if vector["signed_in"] == true {
            run.sign_in(cursor);
        }
        run
    }

    /// The connection is up, and there was nothing new. Vectors count from the end of the sign-in.
    fn sign_in(&mut self, cursor: u64) {
        self.core.start(0);
        self.core.on_token(Some("a token".into()), 0);
        self.core.on_opened(0);
        loop {
            let packets = self.take().packets;
            if packets.is_empty() {
                break;
            }
            for packet in packets {
                let (command, request_id) = (&packet["command"], &packet["request_id"]);
                match command.as_str().unwrap() {
                    "PC_HEARTBEAT" => {
                        self.receive(&json!({"command": command, "request_id": request_id, "seq": cursor}));
                    }
                    "PC_SYNC" => {
                        let content = json!({"Reply": {"data": {"SyncReply": {"start_seq": cursor}}}});
                        self.receive(&json!({"command": command, "request_id": request_id, "content": content}));
                    }
                    "PC_SIGN_IN" => self.receive(&json!({"command": command, "request_id": request_id})),
                    _ => {}
                }
            }
        }
        self.advance(SIGNED_IN_MS);
        self.take();
    }

    pub fn run(mut self, name: &str) {
        for (index, step) in self.vector["steps"].as_array().unwrap().iter().enumerate() {
            self.step(step);
            let Taken { packets, seen, rest } = self.take();
            let place = format!("{name}, step {}: {step}", index + 1);
            let expected = |field: &str| step[field].as_array().cloned().unwrap_or_default();
            let (expected_packets, expected_seen) = (expected("packets"), expected("seen"));
            let picked = self.picked(packets, &expected_packets);
            assert_eq!(picked, self.filled_in(&Value::Array(expected_packets)), "{place}");
            let picked = self.picked(seen, &expected_seen);
            assert_eq!(picked, Value::Array(expected_seen), "{place}");
            let fields = ["gets_token", "locates", "connects", "disconnects"];
            let named = fields.iter().filter_map(|&field| Some((field.to_owned(), step.get(field)?.clone())));
            assert_eq!(rest, named.collect::<Map<_, _>>(), "{place}");
        }
    }

    fn step(&mut self, step: &Value) {
        if let Some(at_ms) = step["at_ms"].as_u64() {
            self.advance(at_ms + self.offset_ms());
        }
        let now_ms = self.now_ms;
        let is_told = |field: &str| step[field] == true;
        if is_told("start") {
            self.core.start(now_ms);
        }
        if is_told("stop") {
            self.core.stop();
        }
        if is_told("nudge") {
            self.core.nudge(now_ms);
        }
        if let Some(token) = step.get("token") {
            self.core.on_token(token.as_str().map(str::to_owned), now_ms);
        }
        if let Some(located) = step.get("located") {
            self.core.on_located(self::located(located), now_ms);
        }
        if let Some(about) = step["fails"].as_str() {
            let about = if about == "token" { About::Token } else { About::Locate };
            self.core.on_failed(about, "it failed", now_ms);
        }
        if is_told("opened") {
            self.core.on_opened(now_ms);
        }
        if is_told("closed") {
            self.core.on_closed(now_ms);
        }
        if let Some(packet) = step.get("packet") {
            self.receive(packet);
        }
        if let Some(bytes) = step["bytes"].as_str() {
            let bytes = (0..bytes.len()).step_by(2).map(|at| u8::from_str_radix(&bytes[at..at + 2], 16).unwrap());
            self.core.on_bytes(bytes.collect::<Vec<_>>().into(), now_ms);
        }
        if let Some(send) = step.get("send") {
            self.core.send(pending_send(send, now_ms), now_ms);
        }
        if let Some(call) = step.get("call") {
            self.core.request(app_request(call, now_ms), now_ms);
        }
        if let Some(room) = step.get("enter_room") {
            self.core.enter_room(room["room_id"].as_u64().unwrap(), room["from_start"] == true, now_ms);
        }
    }

    fn offset_ms(&self) -> u64 {
        if self.vector["signed_in"] == true { SIGNED_IN_MS } else { 0 }
    }

    fn advance(&mut self, until_ms: u64) {
        let mut turns = 0;
        while self.core.deadline_ms() <= until_ms && self.core.deadline_ms() != NEVER {
            turns += 1;
            assert!(turns < TURNS_MAX, "the deadline does not move on");
            let deadline_ms = self.core.deadline_ms();
            self.core.advance(deadline_ms);
            self.note_actions();
        }
        self.now_ms = until_ms;
    }

    fn receive(&mut self, packet: &Value) {
        let mut packet = packet.clone();
        if let Some(name) = packet["request_id"].as_str().filter(|name| name.starts_with('$')) {
            packet["request_id"] = self.names[name].clone();
        }
        self.core.on_bytes(bytes_of(&json!({"Packet": packet})), self.now_ms);
        self.note_actions();
    }

    /// What the core asked for, sorted. Messages count as stored at once.
    fn note_actions(&mut self) {
        loop {
            let actions = self.core.poll();
            if actions.is_empty() {
                break;
            }
            actions.into_iter().for_each(|action| self.note(action));
        }
    }

    fn note(&mut self, action: Action) {
        let Taken { packets, seen, rest } = &mut self.taken;
        let mut asked = |name: &str, value: Value| drop(rest.insert(name.to_owned(), value));
        match action {
            Action::Packet(bytes) => packets.push(readable_packet(&bytes)),
            Action::GetToken { was_refused } => {
                asked("gets_token", json!(if was_refused { "refused" } else { "again" }))
            }
            Action::Locate { .. } => asked("locates", json!(true)),
            Action::Connect { url } => asked("connects", json!(url)),
            Action::Disconnect => asked("disconnects", json!(true)),
            Action::Event(event) => seen.push(readable_event(event)),
            Action::Answer { request_id, answer } => {
                let data = String::from_utf8_lossy(&answer.data);
                seen.push(json!({"answer": {"name": request_id, "code": answer.code, "data": data}}));
            }
            Action::Deliver { messages, cursors } => {
                seen.extend(messages.iter().map(|message| json!({"message": readable_message(message)})));
                self.core.on_stored(cursors, self.now_ms);
            }
            Action::RememberSend(_) | Action::ForgetSend { .. } => {}
        }
    }

    fn take(&mut self) -> Taken {
        self.note_actions();
        std::mem::take(&mut self.taken)
    }

    /// Of each only the fields that are expected; the ids that the client chose get the names that the vector gives them.
    fn picked(&mut self, found: Vec<Value>, expected: &[Value]) -> Value {
        let items = found.into_iter().enumerate();
        Value::Array(
            items
                .map(|(index, item)| expected.get(index).map_or(item.clone(), |wanted| self.pick(item, wanted)))
                .collect(),
        )
    }

    fn pick(&mut self, item: Value, expected: &Value) -> Value {
        if let Some(name) = expected.as_str().filter(|name| name.starts_with('$')) {
            self.names.insert(name.to_owned(), item.clone());
        }
        match (item, expected) {
            (Value::Object(fields), Value::Object(wanted)) => {
                let picked = fields.into_iter().filter_map(|(name, field)| {
                    let field = self.pick(field, wanted.get(&name)?);
                    Some((name, field))
                });
                Value::Object(picked.collect())
            }
            (Value::Array(items), Value::Array(wanted)) => self.picked(items, wanted),
            (item, _) => item,
        }
    }

    fn filled_in(&self, value: &Value) -> Value {
        match value {
            Value::String(name) if name.starts_with('$') => self.names.get(name).cloned().unwrap_or(Value::Null),
            Value::Array(items) => items.iter().map(|item| self.filled_in(item)).collect(),
            Value::Object(fields) => {
                Value::Object(fields.iter().map(|(name, field)| (name.clone(), self.filled_in(field))).collect())
            }
            value => value.clone(),
        }
    }
}

fn pending_send(send: &Value, now_ms: u64) -> PendingSend {
    let ids = [
        send["user_id"].as_u64().map(Target::User),
        send["group_id"].as_u64().map(Target::Group),
        send["room_id"].as_u64().map(Target::Room),
    ];
    let content = match send["content_bytes"].as_u64() {
        Some(count) => Bytes::from(vec![b'x'; usize::try_from(count).unwrap()]),
        None => bytes_of(&send["content"]),
    };
    PendingSend {
        client_msg_id: send["client_msg_id"].as_str().unwrap().to_owned(),
        target: ids.into_iter().flatten().next().unwrap(),
        command: i32::try_from(send["command"].as_i64().unwrap_or(0)).unwrap(),
        content,
        created_at_ms: send["created_at_ms"].as_u64().unwrap_or(now_ms),
    }
}

fn app_request(call: &Value, now_ms: u64) -> AppRequest {
    AppRequest {
        request_id: call["name"].as_str().unwrap().to_owned(),
        command: i32::try_from(call["command"].as_i64().unwrap()).unwrap(),
        content: bytes_of(&call["content"]),
        is_repeatable: call["is_repeatable"] == true,
        deadline_ms: now_ms + call["deadline_ms"].as_u64().unwrap_or(60_000),
    }
}

fn located(located: &Value) -> Located {
    let number = |name: &str| located[name].as_u64().unwrap_or(0);
    let urls = located["urls"].as_array().unwrap().iter().map(|url| url.as_str().unwrap().to_owned());
    Located {
        urls: urls.collect(),
        heartbeat_ms: number("heartbeat_ms"),
        first_ms: number("first_ms"),
        max_ms: number("max_ms"),
    }
}

fn readable_packet(bytes: &[u8]) -> Value {
    let mut packet = decode("Packet", bytes);
    let name = packet["command"].as_str().and_then(|command| REQUESTS.iter().find(|(name, _)| *name == command));
    if let Some((_, message)) = name {
        let content: gim_proto::connect::Packet = prost::Message::decode(bytes).unwrap();
        packet["content"] = decode(message, &content.content);
    }
    packet
}

fn readable_message(message: &Message) -> Value {
    let status = match message.status {
        MessageStatus::Normal => "normal",
        MessageStatus::Recalled => "recalled",
        MessageStatus::Expired => "expired",
    };
    json!({
        "message_id": message.message_id, "command": message.command, "content": text_of(message), "status": status,
        "seq": message.seq, "group_seq": message.group_seq, "room_seq": message.room_seq, "group_id": message.group_id,
        "room_id": message.room_id, "from_user_id": message.from.as_ref().map_or(0, |from| from.user_id),
        "is_own": message.is_own, "client_msg_id": message.client_msg_id,
    })
}

fn readable_event(event: Event) -> Value {
    match event {
        Event::State(state) => json!({"state": match state {
            State::Idle => "idle".to_owned(),
            State::Connecting => "connecting".to_owned(),
            State::Live => "live".to_owned(),
            State::Waiting { .. } => "waiting".to_owned(),
            State::Ended { reason, .. } => reason.to_string(),
        }}),
        Event::Synced => json!({"synced": true}),
        Event::Error { about, .. } => json!({"error": about.to_string()}),
        Event::Sent(Sent { client_msg_id, message_id, seq, created_at_ms, is_duplicate, .. }) => json!({"sent": {
            "client_msg_id": client_msg_id, "message_id": message_id, "seq": seq, "created_at_ms": created_at_ms,
            "is_duplicate": is_duplicate,
        }}),
        Event::Failed { client_msg_id, code, message, .. } => {
            json!({"failed": {"client_msg_id": client_msg_id, "code": code, "message": message}})
        }
        Event::Gap { group_id, after_seq, before_seq } => {
            json!({"gap": {"group_id": group_id, "after_seq": after_seq, "before_seq": before_seq}})
        }
        Event::Room { room_id, is_entered, code, message } => {
            let state = if is_entered { "entered" } else { "refused" };
            json!({"room": {"room_id": room_id, "state": state, "code": code, "message": message}})
        }
        Event::Message(_) | Event::Conversation(_) | Event::Read(_) => unreachable!("the core delivers messages"),
    }
}
