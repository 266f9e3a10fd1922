//! The wire of each dialect cannot drift unseen: `golden.txt` in its folder holds the encoded bytes of one filled instance of every
//! message. It changes only where somebody writes it anew, by `GIM_WRITE_GOLDEN=1`.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{collections::BTreeSet, env, fmt::Write as _, fs, path::PathBuf};

use gim_legacy::Dialect;
use gim_proto::methods;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// No message holds others in others any deeper.
const DEPTH_MAX: usize = 4;

fn folder(dialect: Dialect) -> PathBuf {
    let name = format!("src/d{}", dialect.name().replace('-', "_"));
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn descriptors(dialect: Dialect) -> DescriptorPool {
    DescriptorPool::decode(dialect.calls().descriptors).unwrap()
}

fn messages(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> + '_ {
    pool.all_messages().filter(|message| message.package_name() != "google.protobuf" && !message.is_map_entry())
}

/// A message with something in each field, which depends on nothing but the fields.
fn filled(descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
    assert!(depth < DEPTH_MAX, "{}", descriptor.full_name());
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let value = value(&field, depth);
        let value = if field.is_list() { Value::List(vec![value.clone(), value]) } else { value };
        message.set_field(&field, value);
    }
    message
}

fn value(field: &FieldDescriptor, depth: usize) -> Value {
    let number = 1_000 + field.number();
    match field.kind() {
        Kind::Bool => Value::Bool(true),
        Kind::Int32 => Value::I32(-(number as i32)),
        Kind::Int64 => Value::I64(i64::from(number)),
        Kind::Uint64 => Value::U64(u64::from(number)),
        Kind::Double => Value::F64(f64::from(number)),
        Kind::String => Value::String(field.name().to_owned()),
        Kind::Bytes => Value::Bytes(field.name().to_owned().into()),
        Kind::Enum(kind) => Value::EnumNumber(kind.values().map(|value| value.number()).max().unwrap()),
        Kind::Message(message) => Value::Message(filled(&message, depth + 1)),
        other => panic!("{}: {other:?}", field.full_name()),
    }
}

#[test]
fn every_message_of_every_dialect_has_the_bytes_that_it_had() {
    for dialect in Dialect::all() {
        let mut text = String::new();
        for message in messages(&descriptors(dialect)) {
            write!(text, "{} ", message.full_name()).unwrap();
            for byte in filled(&message, 0).encode_to_vec() {
                write!(text, "{byte:02x}").unwrap();
            }
            text.push('\n');
        }
        let file = folder(dialect).join("golden.txt");
        if env::var_os("GIM_WRITE_GOLDEN").is_some() {
            fs::write(&file, &text).unwrap();
        }
        assert_eq!(text, fs::read_to_string(&file).unwrap(), "{}", file.display());
    }
}

#[test]
fn every_method_of_a_dialect_counts_as_one_that_clients_may_call() {
    let todays = methods::of_clients();
    for dialect in Dialect::all() {
        let pool = descriptors(dialect);
        let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let offered: BTreeSet<String> =
            methods.map(|method| format!("{}/{}", method.parent_service().full_name(), method.name())).collect();
        let listed: BTreeSet<String> = dialect.calls().methods.iter().map(|(older, _)| (*older).to_owned()).collect();
        assert_eq!(offered, listed, "{}", dialect.name());
        let unknown: Vec<_> = dialect.calls().methods.iter().filter(|(_, today)| !todays.contains(*today)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", dialect.name());
    }
}
