//! Messages in JSON, by protobuf's mapping, over the descriptors of the services. Pure.
//!
//! Always holds: what is unknown, said twice or out of range is refused with its name or its place in the text.

use std::{collections::HashSet, fmt};

use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, SerializeOptions,
};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Numbers outside would be rounded to the nearest integer that there is.
const INTEGERS_FROM: f64 = (1_u64 << 63) as f64;
const INTEGERS_UP_TO: f64 = 2.0 * INTEGERS_FROM;
/// A fraction or an exponent is read by way of a double, rounded twice: from here on another integer may come of it.
const EXACT_UP_TO: f64 = (1_u64 << 52) as f64;

/// The services and messages of a set of `.proto` files. Clones share it.
#[derive(Debug, Clone)]
pub struct Schema(DescriptorPool);

/// What cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The descriptors make no sense.
    #[error("the descriptors of the services: {0}")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// It is no JSON, or not that of this message.
    #[error("the JSON of {message}: {problem}")]
    Json {
        /// The name of the message.
        message: String,
        /// In the words of the parser.
        problem: String,
    },
    /// It is no message of this kind.
    #[error("the message is no {0}")]
    Binary(String),
}

impl Schema {
    /// That of an encoded `FileDescriptorSet`.
    pub fn new(file_descriptor_set: &[u8]) -> Result<Self, SchemaError> {
        Ok(Self(DescriptorPool::decode(file_descriptor_set)?))
    }

    /// A message of this full name in JSON; none where there is no such message, or the bytes are not one.
    pub fn message_json(&self, name: &str, bytes: &[u8]) -> Option<serde_json::Value> {
        let parsed = DynamicMessage::decode(self.0.get_message_by_name(name)?, bytes).ok()?;
        parsed.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new()).ok()
    }

    /// The method at `/package.Service/Method`, if it has one message each way.
    pub(super) fn unary(&self, path: &str) -> Option<MethodDescriptor> {
        let (service, name) = path.strip_prefix('/')?.split_once('/')?;
        let service = self.0.get_service_by_name(service)?;
        let method = service.methods().find(|method| method.name() == name)?;
        (!method.is_client_streaming() && !method.is_server_streaming()).then_some(method)
    }
}

/// The bytes of a message that is written in JSON; no text at all is no message.
pub(super) fn to_binary(message: &MessageDescriptor, json: &[u8]) -> Result<Vec<u8>, SchemaError> {
    let fail = |error: serde_json::Error| SchemaError::Json {
        message: message.full_name().to_owned(),
        problem: error.to_string(),
    };
    SaidOnce::Message(message.clone()).deserialize(&mut serde_json::Deserializer::from_slice(json)).map_err(fail)?;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let parsed = DynamicMessage::deserialize(message.clone(), &mut deserializer).map_err(fail)?;
    deserializer.end().map_err(fail)?;
    Ok(parsed.encode_to_vec())
}

/// The JSON of a message.
pub(super) fn to_json(message: &MessageDescriptor, bytes: &[u8]) -> Result<Vec<u8>, SchemaError> {
    let parsed = DynamicMessage::decode(message.clone(), bytes);
    let parsed = parsed.map_err(|_| SchemaError::Binary(message.full_name().to_owned()))?;
    let mut json = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut json);
    parsed
        .serialize_with_options(&mut serializer, &SerializeOptions::new())
        .map_err(|error| SchemaError::Json { message: message.full_name().to_owned(), problem: error.to_string() })?;
    Ok(json)
}

/// What some JSON is read as, in which nothing is said twice: no field by either of its names, and no key however it is written.
#[derive(Debug, Clone)]
enum SaidOnce {
    Message(MessageDescriptor),
    /// By the message of its entries.
    Map(MessageDescriptor),
    Value,
}

impl SaidOnce {
    fn of(field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => Self::Map(entry),
            Kind::Message(message) => Self::Message(message),
            _ => Self::Value,
        }
    }

    /// What a key means, and what its value is read as.
    fn member(&self, key: &str) -> (String, Self) {
        match self {
            Self::Message(message) => {
                match message.get_field_by_json_name(key).or_else(|| message.get_field_by_name(key)) {
                    Some(field) => (field.name().to_owned(), Self::of(&field)),
                    None => (key.to_owned(), Self::Value),
                }
            }
            Self::Map(entry) => {
                let number = match entry.map_entry_key_field().kind() {
                    Kind::String => None,
                    _ => key.parse::<i128>().ok(),
                };
                (number.map_or_else(|| key.to_owned(), |key| key.to_string()), Self::of(&entry.map_entry_value_field()))
            }
            Self::Value => (key.to_owned(), Self::Value),
        }
    }
}

impl<'de> DeserializeSeed<'de> for SaidOnce {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SaidOnce {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut said = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let (meant, value) = self.member(&key);
            map.next_value_seed(value)?;
            if !said.insert(meant) {
                return Err(serde::de::Error::custom(format!("`{key}` is said twice")));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(self.clone())?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    /// What is no integer of 64 bits, or not written like one.
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        if value <= -INTEGERS_FROM || value >= INTEGERS_UP_TO {
            Err(E::custom("a number is beyond 64 bits"))
        } else if value.abs() >= EXACT_UP_TO {
            Err(E::custom("a number from 2^52 on must have no fraction and no exponent"))
        } else {
            Ok(())
        }
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gim_proto::{FILE_DESCRIPTOR_SET, logic::PushToUsersRequest};
    use proptest::prelude::*;

    use super::*;

    fn message(name: &str) -> MessageDescriptor {
        Schema::new(FILE_DESCRIPTOR_SET).unwrap().0.get_message_by_name(name).unwrap()
    }

    fn push(json: &str) -> Result<PushToUsersRequest, String> {
        let bytes =
            to_binary(&message("logic.PushToUsersRequest"), json.as_bytes()).map_err(|error| error.to_string())?;
        Ok(PushToUsersRequest::decode(bytes.as_slice()).unwrap())
    }

    #[test]
    fn fields_are_found_by_either_name_and_large_numbers_are_texts() {
        let expected = PushToUsersRequest {
            user_ids: vec![7, u64::MAX],
            command: 2001,
            content: "hi".into(),
            is_persist: true,
            ..PushToUsersRequest::default()
        };
        let max = u64::MAX;
        for json in [
            format!(r#"{{"user_ids":["7","{max}"],"command":2001,"content":"aGk=","is_persist":true}}"#),
            format!(r#"{{"userIds":[7,{max}],"command":2001,"content":"aGk","isPersist":true}}"#),
        ] {
            assert_eq!(push(&json).unwrap(), expected);
        }
        let json = to_json(&message("logic.PushToUsersRequest"), &expected.encode_to_vec()).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            format!(r#"{{"userIds":["7","{max}"],"command":2001,"content":"aGk=","isPersist":true}}"#)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let deep = format!(r#"{{"user_ids":{}"#, "[".repeat(10_000));
        for (json, text) in [
            (r#"{"user_ids":["7"]"#, "EOF while parsing"),
            (deep.as_str(), "recursion limit"),
            (r#"{"users":["7"]}"#, "unrecognized field name 'users'"),
            (r#"{"command":1,"command":2}"#, "`command` is said twice"),
            (r#"{"client_msg_id":"a","clientMsgId":"b"}"#, "`clientMsgId` is said twice"),
            (r#"{"user_ids":[18446744073709551616]}"#, "a number is beyond 64 bits"),
            (r#"{"user_ids":[9007199254740993.0]}"#, "no fraction"),
            (r#"{"user_ids":[9.007199254740993e15]}"#, "no exponent"),
            (r#"{"user_ids":[9007199254740991.0]}"#, "no fraction"),
            (r#"{"user_ids":["18446744073709551616"]}"#, ""),
            (r#"{"user_ids":[-1]}"#, ""),
            (r#"{"command":NaN}"#, "expected value"),
            (r#"{"command":"NaN"}"#, ""),
            (r#"{"client_msg_id":"\ud800"}"#, ""),
            (r#"{"content":"*"}"#, ""),
            (r#"{} {}"#, "trailing characters"),
            ("", "EOF while parsing"),
            ("[]", ""),
            ("null", ""),
        ] {
            let problem = push(json).unwrap_err();
            assert!(
                problem.starts_with("the JSON of logic.PushToUsersRequest: ") && problem.contains(text),
                "{problem}"
            );
        }
    }

    #[test]
    fn a_number_with_a_fraction_or_an_exponent_is_that_integer_or_refused() {
        for (written, meant) in [("7.0", 7), ("1e3", 1_000), ("4503599627370491.0", 4_503_599_627_370_491)] {
            assert_eq!(push(&format!(r#"{{"user_ids":[{written}]}}"#)).unwrap().user_ids, [meant], "{written}");
        }
        for exact in [u64::MAX, (1 << 53) + 1] {
            assert_eq!(push(&format!(r#"{{"user_ids":[{exact}]}}"#)).unwrap().user_ids, [exact]);
        }
    }

    #[test]
    fn a_key_of_a_map_is_said_once_however_it_is_written() {
        let users = message("business.GetUsersReply");
        let problem = |json: &str| to_binary(&users, json.as_bytes()).map_err(|error| error.to_string());
        assert!(problem(r#"{"users":{"1":{},"2":{}}}"#).is_ok());
        for (json, said) in [
            (r#"{"users":{"1":{},"01":{}}}"#, "`01`"),
            (r#"{"users":{"1":{},"+1":{}}}"#, "`+1`"),
            (r#"{"users":{"1":{"avatarUrl":"a","avatar_url":"b"}}}"#, "`avatar_url`"),
        ] {
            let problem = problem(json).unwrap_err();
            assert!(problem.contains(&format!("{said} is said twice")), "{problem}");
        }
    }

    #[test]
    fn only_what_has_one_message_each_way_is_found() {
        let schema = Schema::new(FILE_DESCRIPTOR_SET).unwrap();
        assert_eq!(schema.unary("/logic.MessageExtService/Sync").unwrap().name(), "Sync");
        for path in ["/logic.LinkService/Attach", "/logic.MessageExtService/None", "/None/Sync", "/", "", "a/b/c"] {
            assert!(schema.unary(path).is_none(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,100}") {
            let message = message("logic.SyncReply");
            assert!(to_binary(&message, text.as_bytes()).is_err() || text.trim_start().starts_with('{'));
            // Whatever can be read can be written.
            if let Ok(binary) = to_binary(&message, &bytes) {
                to_json(&message, &binary).unwrap();
            }
        }
    }
}
