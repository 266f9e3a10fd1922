//! Messages of the wire as vectors write them: protobuf's JSON with the names of the `.proto` files, but that bytes are text, or the name of
//! a message with its fields.

use std::sync::LazyLock;

use bytes::Bytes;
use gim_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};
use serde_json::{Map, Value as Json, json};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap());

fn descriptor(name: &str) -> MessageDescriptor {
    let found = ["connect", "logic"].iter().find_map(|package| POOL.get_message_by_name(&format!("{package}.{name}")));
    found.unwrap_or_else(|| panic!("{name} is no message"))
}

/// Text, or a message, as bytes.
pub fn bytes_of(value: &Json) -> Bytes {
    match value {
        Json::Null => Bytes::new(),
        Json::String(text) => text.clone().into(),
        Json::Object(named) => {
            let (name, fields) = named.iter().next().expect("a message has a name");
            encode(&descriptor(name), fields).encode_to_vec().into()
        }
        other => panic!("{other} is neither text nor a message"),
    }
}

fn encode(descriptor: &MessageDescriptor, fields: &Json) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for (name, value) in fields.as_object().unwrap() {
        let field = descriptor.get_field_by_name(name).unwrap_or_else(|| panic!("{} has no {name}", descriptor.name()));
        let value = match value {
            Json::Array(items) => Value::List(items.iter().map(|item| encode_value(&field, item)).collect()),
            value => encode_value(&field, value),
        };
        message.set_field(&field, value);
    }
    message
}

fn encode_value(field: &FieldDescriptor, value: &Json) -> Value {
    match field.kind() {
        Kind::Bool => Value::Bool(value.as_bool().unwrap()),
        Kind::String => Value::String(value.as_str().unwrap().to_owned()),
        Kind::Bytes => Value::Bytes(bytes_of(value)),
        Kind::Uint64 => Value::U64(value.as_u64().unwrap()),
        Kind::Int64 => Value::I64(value.as_i64().unwrap()),
        Kind::Uint32 => Value::U32(u32::try_from(value.as_u64().unwrap()).unwrap()),
        Kind::Int32 => Value::I32(i32::try_from(value.as_i64().unwrap()).unwrap()),
        Kind::Message(descriptor) => Value::Message(encode(&descriptor, value)),
        Kind::Enum(descriptor) => Value::EnumNumber(match value {
            Json::String(name) => descriptor.get_value_by_name(name).unwrap().number(),
            number => i32::try_from(number.as_i64().unwrap()).unwrap(),
        }),
        kind => panic!("{kind:?} is in no vector"),
    }
}

/// A message of this name, with all its fields, also those that are at their default.
pub fn decode(name: &str, bytes: &[u8]) -> Json {
    readable(&DynamicMessage::decode(descriptor(name), bytes).unwrap())
}

fn readable(message: &DynamicMessage) -> Json {
    let descriptor = message.descriptor();
    let fields = descriptor.fields().map(|field| {
        let value = match &*message.get_field(&field) {
            Value::List(items) => Json::Array(items.iter().map(|item| readable_value(&field, item)).collect()),
            value => readable_value(&field, value),
        };
        (field.name().to_owned(), value)
    });
    Json::Object(fields.collect::<Map<String, Json>>())
}

fn readable_value(field: &FieldDescriptor, value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::String(value) => json!(value),
        Value::Bytes(value) => json!(String::from_utf8_lossy(value)),
        Value::U64(value) => json!(value),
        Value::I64(value) => json!(value),
        Value::U32(value) => json!(value),
        Value::I32(value) => json!(value),
        Value::Message(message) => readable(message),
        Value::EnumNumber(number) => enum_name(field, *number),
        value => panic!("{value:?} is in no vector"),
    }
}

fn enum_name(field: &FieldDescriptor, number: i32) -> Json {
    let Kind::Enum(descriptor) = field.kind() else { panic!("{} is no enum", field.name()) };
    descriptor.get_value(number).map_or(json!(number), |value| json!(value.name()))
}
