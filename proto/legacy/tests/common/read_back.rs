//! Reads what a dialect writes as its clients read it: by the descriptors of its own messages, to the end of what can be read without its app.
//!
//! The tests here and the fuzz target of dialects have it in common.

use gim_legacy::{
    Dialect,
    packets::{Packet, Scratch},
};
use gim_proto::connect::{CloseNotice, Message, PacketCommand, Reply};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value};

/// The command under which packages until 2024 push, and that under which they sync.
const PUSHED: i32 = 4;
const SYNCED: i32 = 2;

/// A client of a dialect.
pub struct Client {
    dialect: Dialect,
    pool: DescriptorPool,
    /// What it says, and what it hears.
    asks: MessageDescriptor,
    hears: MessageDescriptor,
    numbers: Numbers,
}

/// Of fields, in both.
struct Numbers {
    kind: u32,
    request_id: u32,
    code: u32,
}

impl Client {
    pub fn of(dialect: Dialect) -> Self {
        let pool = DescriptorPool::decode(dialect.calls().descriptors).unwrap();
        let named = |name: &str| pool.get_message_by_name(name);
        let (asks, hears, numbers) = match named("pb.Input") {
            Some(input) => (input, named("pb.Output").unwrap(), Numbers { kind: 1, request_id: 2, code: 3 }),
            None => {
                let message = named("connect.Message").unwrap();
                (message.clone(), message, Numbers { kind: 2, request_id: 1, code: 100 })
            }
        };
        Self { dialect, pool, asks, hears, numbers }
    }

    /// What the server reads of these bytes it answers under the number and the request id that stand in them.
    pub fn is_answered_as_it_asked(&self, frame: &[u8], code: i32) {
        let mut scratch = Scratch::default();
        let Ok(asked) = self.dialect.packets().read(frame, &mut scratch) else { return };
        // Who reads less of a frame than all of it is more lenient than its clients are.
        let Ok(said) = DynamicMessage::decode(self.asks.clone(), frame) else { return };
        if asked.command == PacketCommand::PcMessageAck as i32 {
            return;
        }
        let refusal = Reply { code, message: "no".into(), ..Reply::default() }.encode_to_vec();
        let mut answer = Vec::new();
        assert!(self.dialect.packets().write(&Packet { content: &refusal, ..asked }, &mut answer));
        let heard = self.hear(&answer);
        for number in [self.numbers.kind, self.numbers.request_id] {
            let (said, heard) = (field(&said, number), field(&heard, number));
            assert_eq!(said, heard, "{}: {frame:02x?}", self.dialect.name());
        }
        assert_eq!(field(&heard, self.numbers.code), Value::I32(code), "{}", self.dialect.name());
    }

    /// What the server says can be read, and says all or nothing.
    pub fn reads_what_is_said(&self, said: &Packet<'_>) {
        let mut frame = Vec::new();
        let is_said = self.dialect.packets().write(said, &mut frame);
        if !is_said {
            assert!(frame.is_empty(), "{} said a part", self.dialect.name());
            return;
        }
        // A server whose own messages are none says nothing that anybody has to read.
        if !is_servers(said) {
            return;
        }
        let heard = self.hear(&frame);
        if self.hears.full_name() != "pb.Output" {
            return;
        }
        let Value::Bytes(data) = field(&heard, 5) else { panic!("`data` are bytes") };
        let inner = match field(&heard, self.numbers.kind) {
            Value::EnumNumber(PUSHED) if said.command == PacketCommand::PcMessage as i32 => {
                ["pb.MessageSend", "pb.Message"].iter().find_map(|name| self.pool.get_message_by_name(name))
            }
            Value::EnumNumber(SYNCED) if said.command != UNKNOWN => self.pool.get_message_by_name("pb.SyncOutput"),
            _ => return,
        };
        DynamicMessage::decode(inner.unwrap(), &data[..])
            .unwrap_or_else(|error| panic!("{}: {error}: {data:02x?} of {said:02x?}", self.dialect.name()));
    }

    fn hear(&self, frame: &[u8]) -> DynamicMessage {
        DynamicMessage::decode(self.hears.clone(), frame)
            .unwrap_or_else(|error| panic!("{}: {error}: {frame:02x?}", self.dialect.name()))
    }
}

const UNKNOWN: i32 = gim_legacy::packets::UNKNOWN;

/// Whether the content is what today's server has under the command.
fn is_servers(said: &Packet<'_>) -> bool {
    let is_page = |reply: Reply| gim_proto::logic::SyncReply::decode(reply.data).is_ok();
    match PacketCommand::try_from(said.command) {
        Ok(PacketCommand::PcMessage) => Message::decode(said.content).is_ok(),
        Ok(PacketCommand::PcClose) => CloseNotice::decode(said.content).is_ok(),
        Ok(PacketCommand::PcSync) => Reply::decode(said.content).is_ok_and(is_page),
        _ => Reply::decode(said.content).is_ok(),
    }
}

fn field(message: &DynamicMessage, number: u32) -> Value {
    message.get_field_by_number(number).expect("it is a field").into_owned()
}
