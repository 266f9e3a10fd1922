//! The wire cannot drift unseen: `golden/schema.txt` holds every message, enum and service of `proto/*.proto` with
//! its numbers, `golden/messages.txt` the encoded bytes of one filled instance of every message (one per variant of a oneof).
//!
//! A difference means that clients and nodes already out there would misread us. Only additions are right: a failing test
//! says which lines to add.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod business;
mod connect;
mod content;
mod link;
mod logic;

use std::{collections::BTreeMap, fmt::Write as _};

use prost::Message;
use prost_reflect::{Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, MethodDescriptor};

const SCHEMA: &str = include_str!("schema.txt");
const MESSAGES: &str = include_str!("messages.txt");

/// Packages of the wire; `google.protobuf` is not ours to hold still.
const PACKAGES: [&str; 4] = ["business", "connect", "content", "logic"];

/// Whether bytes decode to the very message that a sample holds.
type DecodesTo = Box<dyn Fn(&[u8]) -> bool>;

/// One filled message.
struct Sample {
    /// `package.Message`, with `.variant` behind it for a oneof.
    label: &'static str,
    bytes: Vec<u8>,
    decodes: DecodesTo,
}

fn sample<M: Message + Default + PartialEq + 'static>(label: &'static str, message: M) -> Sample {
    let bytes = message.encode_to_vec();
    let decodes = Box::new(move |bytes: &[u8]| M::decode(bytes).is_ok_and(|decoded| decoded == message));
    Sample { label, bytes, decodes }
}

fn samples() -> Vec<Sample> {
    let mut samples: Vec<Sample> =
        [connect::samples(), content::samples(), logic::samples(), link::samples(), business::samples()]
            .into_iter()
            .flatten()
            .collect();
    samples.sort_by_key(|sample| sample.label);
    samples
}

fn descriptors() -> DescriptorPool {
    DescriptorPool::decode(gim_proto::FILE_DESCRIPTOR_SET).unwrap()
}

fn is_ours(package: &str) -> bool {
    PACKAGES.contains(&package)
}

#[test]
fn every_message_has_the_bytes_it_always_had() {
    let stored: BTreeMap<&str, &str> = MESSAGES.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let mut missing = String::new();
    for sample in samples() {
        let hex = to_hex(&sample.bytes);
        match stored.get(sample.label) {
            Some(stored) => {
                assert_eq!(hex, *stored, "{} is encoded differently than before", sample.label);
                assert!((sample.decodes)(&from_hex(stored)), "{} is read differently than before", sample.label);
            }
            None => writeln!(missing, "{} {hex}", sample.label).unwrap(),
        }
    }
    assert!(missing.is_empty(), "new messages; add these lines to golden/messages.txt:\n{missing}");
    let known: Vec<_> = samples().iter().map(|sample| sample.label).collect();
    let gone: Vec<_> = stored.keys().filter(|label| !known.contains(label)).collect();
    assert!(gone.is_empty(), "messages that clients may still send are gone: {gone:?}");
}

#[test]
fn no_field_of_any_message_is_left_out_of_the_stored_bytes() {
    let samples = samples();
    let mut left_out = Vec::new();
    for descriptor in descriptors().all_messages().filter(|message| is_ours(message.package_name())) {
        if descriptor.is_map_entry() {
            continue;
        }
        let name = descriptor.full_name();
        let filled: Vec<DynamicMessage> = samples
            .iter()
            .filter(|sample| message_name(sample.label) == name)
            .map(|sample| DynamicMessage::decode(descriptor.clone(), &sample.bytes[..]).unwrap())
            .collect();
        if filled.is_empty() {
            left_out.push(name.to_owned());
        }
        assert!(filled.iter().all(|message| message.unknown_fields().next().is_none()), "{name} is not of this type");
        let is_filled = |field: &FieldDescriptor| filled.iter().any(|message| message.has_field(field));
        left_out
            .extend(descriptor.fields().filter(|field| !is_filled(field)).map(|field| field.full_name().to_owned()));
    }
    assert!(left_out.is_empty(), "no sample fills {left_out:?}");
}

#[test]
fn every_number_and_method_is_where_it_always_was() {
    let current = schema();
    let (mut current_lines, mut stored_lines) = (current.lines(), SCHEMA.lines());
    for number in 1.. {
        match (stored_lines.next(), current_lines.next()) {
            (None, None) => return,
            (stored, found) => {
                assert_eq!(found, stored, "golden/schema.txt, line {number}; the whole of it is now:\n{current}");
            }
        }
    }
}

/// Everything with a number or a name on the wire, one per line, sorted by full name.
fn schema() -> String {
    let pool = descriptors();
    let mut blocks = BTreeMap::new();
    for message in pool.all_messages().filter(|message| is_ours(message.package_name()) && !message.is_map_entry()) {
        let fields: Vec<_> = message.fields().map(|field| format!("  {} {}", field.number(), typed(&field))).collect();
        blocks.insert(format!("message {}", message.full_name()), fields);
    }
    for list in pool.all_enums().filter(|list| is_ours(list.package_name())) {
        let values: Vec<_> = list.values().map(|value| format!("  {} {}", value.number(), value.name())).collect();
        blocks.insert(format!("enum {}", list.full_name()), values);
    }
    for service in pool.services().filter(|service| is_ours(service.package_name())) {
        let methods: Vec<_> = service.methods().map(|method| format!("  {}", called(&method))).collect();
        blocks.insert(format!("service {}", service.full_name()), methods);
    }
    blocks.into_iter().fold(String::new(), |text, (head, lines)| text + &[vec![head], lines].concat().join("\n") + "\n")
}

fn typed(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        prost_reflect::Kind::Message(message) if field.is_map() => {
            let of = |field: FieldDescriptor| format!("{:?}", field.kind());
            format!("map<{}, {}>", of(message.map_entry_key_field()), of(message.map_entry_value_field()))
        }
        prost_reflect::Kind::Message(message) => message.full_name().to_owned(),
        prost_reflect::Kind::Enum(list) => list.full_name().to_owned(),
        scalar => format!("{scalar:?}"),
    };
    let repeated = if field.cardinality() == Cardinality::Repeated && !field.is_map() { "repeated " } else { "" };
    let oneof = field.containing_oneof().map(|oneof| format!(" (oneof {})", oneof.name())).unwrap_or_default();
    format!("{} {repeated}{kind}{oneof}", field.name())
}

fn called(method: &MethodDescriptor) -> String {
    let stream = |is_streaming| if is_streaming { "stream " } else { "" };
    format!(
        "{} ({}{}) -> {}{}",
        method.name(),
        stream(method.is_client_streaming()),
        method.input().full_name(),
        stream(method.is_server_streaming()),
        method.output().full_name()
    )
}

/// `package.Message` of `package.Message.variant`.
fn message_name(label: &str) -> &str {
    label.match_indices('.').nth(1).map_or(label, |(end, _)| &label[..end])
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
