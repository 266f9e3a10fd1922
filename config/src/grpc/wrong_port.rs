//! Calls of clients who came to the wrong port. Clients of several dates have methods of the same name, whose messages have other fields:
//! where such fields were passed over as unknown, a page would be answered that was not asked for, again and again.
//!
//! On the tasks of calls. Always holds: a message that may be one of the port's own clients is taken for that, also where one of others
//! looks the same; of others is what has a field that only they have, or that only they can mean.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::Either;
use gim_proto::ResultCode;
use http::{Request, Response};
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::{DescriptorError, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::{calls::count_refusal, older_methods::OlderMethods, unary};

/// Those for whom a port is, and what they call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speakers<'a> {
    /// None for today's.
    dialect: Option<&'static str>,
    descriptors: &'a [u8],
}

/// What the clients of other ports call, as a port knows it.
#[derive(Debug, Default)]
pub(super) struct WrongPort {
    /// Whose port it is.
    own: String,
    /// By the path of a method that is not here: whose it is.
    missing: HashMap<String, Vec<String>>,
    /// By the path of one that is here, too, with other messages.
    alike: HashMap<String, Vec<Other>>,
}

/// The same method of others.
#[derive(Debug)]
struct Other {
    /// Whose it is.
    name: String,
    own_fields: HashMap<u32, Form>,
    fields: HashMap<u32, Form>,
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq)]
enum Form {
    Number(WireType),
    /// One after the other, or each for itself.
    Numbers(WireType),
    Text,
    Bytes,
    /// By its fields.
    Message(Vec<(u32, WireType)>),
}

/// A field as it came.
struct Found<'a> {
    tag: u32,
    wire: WireType,
    /// Where it has a length.
    bytes: &'a [u8],
}

impl<'a> Speakers<'a> {
    /// Today's clients.
    pub(super) fn of_today(descriptors: &'a [u8]) -> Self {
        Self { dialect: None, descriptors }
    }

    fn named(&self) -> String {
        self.dialect.map_or_else(|| "today's clients".to_owned(), |dialect| format!("clients of {dialect}"))
    }
}

impl From<OlderMethods> for Speakers<'static> {
    fn from(methods: OlderMethods) -> Self {
        Self { dialect: Some(methods.dialect), descriptors: methods.descriptors }
    }
}

impl WrongPort {
    /// At a port for `own` clients: how to tell those of `others`.
    pub(super) fn new<'a>(
        own: Speakers<'_>,
        others: impl IntoIterator<Item = Speakers<'a>>,
    ) -> Result<Self, DescriptorError> {
        let (mut found, own_methods) = (Self { own: own.named(), ..Self::default() }, requests(own.descriptors)?);
        for other in others.into_iter().filter(|other| other.dialect != own.dialect) {
            let name = other.named();
            for (path, request) in requests(other.descriptors)? {
                match own_methods.get(&path) {
                    None => found.missing.entry(path).or_default().push(name.clone()),
                    Some(own_request) => {
                        let (own_fields, fields) = (forms(own_request), forms(&request));
                        let other = Other { name: name.clone(), own_fields, fields };
                        if other.can_be_told() {
                            found.alike.entry(path).or_default().push(other);
                        }
                    }
                }
            }
        }
        Ok(found)
    }

    /// What those are told who call a method that only clients of other ports have.
    pub(super) fn of_missing(&self, path: &str) -> Option<String> {
        self.missing.get(path).map(|names| self.problem(&names.join(" or ")))
    }

    /// The same of those who say in a message what only these say.
    fn of_message(&self, path: &str, bytes: Bytes) -> Option<String> {
        // What is several messages, or compressed, the method itself refuses or reads.
        let message = unary::only_message(bytes).ok()?;
        let other = self.alike.get(path)?.iter().find(|other| other.says(&message))?;
        Some(self.problem(&other.name))
    }

    fn problem(&self, others: &str) -> String {
        format!("this is the port of {}; this is a call of {others}, who have another", self.own)
    }
}

/// By `/package.Service/Method` what is asked there, of methods with one message each way.
fn requests(descriptors: &[u8]) -> Result<HashMap<String, MessageDescriptor>, DescriptorError> {
    let pool = DescriptorPool::decode(descriptors)?;
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let unary = methods.filter(|method| !method.is_client_streaming() && !method.is_server_streaming());
    let named = |method: prost_reflect::MethodDescriptor| {
        (format!("/{}/{}", method.parent_service().full_name(), method.name()), method.input())
    };
    Ok(unary.map(named).collect())
}

fn forms(message: &MessageDescriptor) -> HashMap<u32, Form> {
    message.fields().map(|field| (field.number(), Form::of(&field))).collect()
}

impl Other {
    /// Whether some message of theirs is none of the port's own clients.
    fn can_be_told(&self) -> bool {
        self.fields.iter().any(|(tag, form)| self.own_fields.get(tag).is_none_or(|own| own != form))
    }

    /// Whether only they say this.
    fn says(&self, message: &[u8]) -> bool {
        // What is no message at all is refused as that.
        Fields(message).map_while(Result::ok).any(|found| {
            let Some(form) = self.fields.get(&found.tag) else { return false };
            match self.own_fields.get(&found.tag) {
                None => form.holds(&found, form),
                Some(own) => !own.holds(&found, form) && form.holds(&found, own),
            }
        })
    }
}

impl Form {
    fn of(field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::String => Self::Text,
            Kind::Bytes => Self::Bytes,
            Kind::Message(message) => {
                Self::Message(message.fields().map(|field| (field.number(), wire_of(&field))).collect())
            }
            kind if field.is_list() => Self::Numbers(wire_of_number(&kind)),
            kind => Self::Number(wire_of_number(&kind)),
        }
    }

    /// Whether it can be what came, where `other` may be meant as well.
    fn holds(&self, found: &Found<'_>, other: &Self) -> bool {
        let has_length = found.wire == WireType::LengthDelimited;
        match self {
            Self::Number(wire) => found.wire == *wire,
            Self::Numbers(WireType::Varint) if has_length => is_varints(found.bytes),
            Self::Numbers(wire) => has_length || found.wire == *wire,
            Self::Text => has_length && is_text(found.bytes, matches!(other, Self::Message(_))),
            Self::Bytes => has_length,
            Self::Message(fields) => has_length && is_message(found.bytes, fields),
        }
    }
}

fn wire_of(field: &FieldDescriptor) -> WireType {
    match field.kind() {
        Kind::String | Kind::Bytes | Kind::Message(_) => WireType::LengthDelimited,
        _ if field.is_packed() => WireType::LengthDelimited,
        kind => wire_of_number(&kind),
    }
}

fn wire_of_number(kind: &Kind) -> WireType {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => WireType::SixtyFourBit,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => WireType::ThirtyTwoBit,
        _ => WireType::Varint,
    }
}

fn is_varints(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        if decode_varint(&mut bytes).is_err() {
            return false;
        }
    }
    true
}

/// Of the bytes of a message most have characters that nobody writes: the keys of its first fields.
fn is_text(bytes: &[u8], may_be_message: bool) -> bool {
    let is_written = |character: char| !character.is_control() || character.is_whitespace();
    str::from_utf8(bytes).is_ok_and(|text| !may_be_message || text.chars().all(is_written))
}

/// Fields that are unknown here a newer client may have, beside some that are known.
fn is_message(bytes: &[u8], fields: &[(u32, WireType)]) -> bool {
    let mut is_known = bytes.is_empty();
    for found in Fields(bytes) {
        let Ok(found) = found else { return false };
        if let Some((_, wire)) = fields.iter().find(|(tag, _)| *tag == found.tag) {
            if found.wire != *wire {
                return false;
            }
            is_known = true;
        }
    }
    is_known
}

/// The fields of a message, in their order, up to the first that cannot be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Found<'a>, ()>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let found = self.read();
        if found.is_none() {
            self.0 = &[];
        }
        Some(found.ok_or(()))
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<Found<'a>> {
        let (tag, wire) = decode_key(&mut self.0).ok()?;
        let length = match wire {
            WireType::Varint => {
                decode_varint(&mut self.0).ok()?;
                0
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut self.0).ok()?).ok()?,
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Found { tag, wire, bytes })
    }
}

/// The answer to a message that is looked at first.
type LookedAt<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

/// Puts the look at messages around the methods themselves.
#[derive(Debug, Clone)]
pub(super) struct WrongPortLayer(pub(super) Arc<WrongPort>);

#[derive(Debug, Clone)]
pub(super) struct WrongPortService<S> {
    inner: S,
    wrong_port: Arc<WrongPort>,
}

impl<S> Layer<S> for WrongPortLayer {
    type Service = WrongPortService<S>;

    fn layer(&self, inner: S) -> WrongPortService<S> {
        WrongPortService { inner, wrong_port: self.0.clone() }
    }
}

impl<S> Service<Request<Body>> for WrongPortService<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, LookedAt<S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !self.wrong_port.alike.contains_key(request.uri().path()) {
            return Either::Left(self.inner.call(request));
        }
        let wrong_port = self.wrong_port.clone();
        // The clone was not polled for readiness; the service that was is the one to call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Either::Right(Box::pin(async move {
            let (parts, body) = request.into_parts();
            let bytes = match unary::gather(body).await {
                Ok((bytes, _)) => bytes,
                Err(status) => return Ok(status.into_http()),
            };
            if let Some(problem) = wrong_port.of_message(parts.uri.path(), bytes.clone()) {
                count_refusal("wrong_port");
                return Ok(ResultCode::BadRequest.status(problem).into_http());
            }
            inner.call(Request::from_parts(parts, unary::whole(bytes))).await
        }))
    }
}

/// The refusal of a method that only clients of other ports have.
pub(super) fn refuse_missing(problem: &str) -> Status {
    count_refusal("wrong_port");
    ResultCode::UnknownCommand.status(problem)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
        ServiceDescriptorProto,
        field_descriptor_proto::{Label, Type},
    };

    use super::*;

    const PATH: &str = "/a.GroupExtService/Create";

    fn field(number: i32, kind: Type, label: Label) -> FieldDescriptorProto {
        let (name, type_name) = (format!("f{number}"), (kind == Type::Message).then(|| ".a.Inner".to_owned()));
        FieldDescriptorProto {
            name: Some(name),
            number: Some(number),
            r#type: Some(kind as i32),
            label: Some(label as i32),
            type_name,
            ..FieldDescriptorProto::default()
        }
    }

    fn message(name: &str, field: Vec<FieldDescriptorProto>) -> DescriptorProto {
        DescriptorProto { name: Some(name.into()), field, ..DescriptorProto::default() }
    }

    /// A service with a method that takes these fields, of which messages have a number, a text and a text; and one of another name.
    fn descriptors(asked: Vec<FieldDescriptorProto>, other_method: &str) -> Vec<u8> {
        let inner = [(1, Type::Uint64), (2, Type::String), (3, Type::String)];
        let inner = inner.map(|(number, kind)| field(number, kind, Label::Optional)).to_vec();
        let method = |name: &str| MethodDescriptorProto {
            name: Some(name.into()),
            input_type: Some(".a.Asked".into()),
            output_type: Some(".a.Inner".into()),
            ..MethodDescriptorProto::default()
        };
        let service = ServiceDescriptorProto {
            name: Some("GroupExtService".into()),
            method: vec![method("Create"), method(other_method)],
            ..ServiceDescriptorProto::default()
        };
        let file = FileDescriptorProto {
            name: Some("a.proto".into()),
            package: Some("a".into()),
            syntax: Some("proto3".into()),
            message_type: vec![message("Asked", asked), message("Inner", inner)],
            service: vec![service],
            ..FileDescriptorProto::default()
        };
        FileDescriptorSet { file: vec![file] }.encode_to_vec()
    }

    /// The port of today's clients, who ask by messages, and that of older ones, who ask by texts and numbers.
    fn ports() -> [WrongPort; 2] {
        let one = |number, kind| field(number, kind, Label::Optional);
        let many = |number, kind| field(number, kind, Label::Repeated);
        let today = descriptors(vec![one(1, Type::Message), many(2, Type::Message), one(16, Type::Bool)], "List");
        let older = descriptors(vec![one(1, Type::String), many(2, Type::Uint64), one(3, Type::Uint64)], "GetAll");
        let today = Speakers { dialect: None, descriptors: &today };
        let older = Speakers { dialect: Some("2000-01"), descriptors: &older };
        let both = [today, older];
        both.map(|own| WrongPort::new(own, both).unwrap())
    }

    fn told(port: &WrongPort, message: &[u8]) -> Option<String> {
        port.of_message(PATH, unary::frame(message))
    }

    #[test]
    fn who_says_what_only_others_say_is_told_whose_port_it_is() {
        let [today, older] = ports();
        let at_todays: [&[u8]; 4] = [b"\x18\x05", b"\x0a\x03abc", b"\x12\x04\x90\x4e\x91\x4e", b"\x10\x90\x4e"];
        for message in at_todays {
            let problem = told(&today, message).unwrap_or_else(|| panic!("{message:?}"));
            assert_eq!(
                problem,
                "this is the port of today's clients; this is a call of clients of 2000-01, who have another"
            );
        }
        let at_older: [&[u8]; 3] = [b"\x80\x01\x01", b"\x0a\x03\x12\x01x", b"\x0a\x05\x08\x01\x12\x01x"];
        for message in at_older {
            let problem = told(&older, message).unwrap_or_else(|| panic!("{message:?}"));
            assert_eq!(
                problem,
                "this is the port of clients of 2000-01; this is a call of today's clients, who have another"
            );
        }
    }

    #[test]
    fn what_the_own_clients_may_say_is_let_through() {
        let [today, older] = ports();
        // Also with fields that only newer ones know, in the message and in one inside of it.
        let of_today: [&[u8]; 6] = [
            b"",
            b"\x0a\x00\x12\x00",
            b"\x0a\x05\x08\x01\x12\x01x",
            b"\x12\x02\x08\x05\x12\x02\x08\x06\x80\x01\x01",
            b"\x12\x05\x08\x05\x88\x06\x01",
            b"\xa0\x06\x01",
        ];
        for message in of_today.into_iter().chain([&b"\xff"[..], b"\x0a\x7f"]) {
            assert_eq!(told(&today, message), None, "{message:?}");
        }
        let of_older: [&[u8]; 6] = [
            b"\x0a\x03abc",
            b"\x0a\x06\xe4\xb8\xad\x0a\x09!",
            b"\x12\x04\x90\x4e\x91\x4e",
            b"\x10\x08\x10\x05",
            b"\x12\x02\x08\x05",
            b"\x18\x05",
        ];
        for message in of_older {
            assert_eq!(told(&older, message), None, "{message:?}");
        }
        assert_eq!(today.of_message("/a.GroupExtService/List", unary::frame(b"\x18\x05")), None);
    }

    #[test]
    fn a_method_that_only_others_have_is_theirs() {
        let [today, older] = ports();
        assert!(today.of_missing("/a.GroupExtService/GetAll").is_some_and(|problem| problem.contains("2000-01")));
        assert!(older.of_missing("/a.GroupExtService/List").is_some_and(|problem| problem.contains("today's")));
        for path in [PATH, "/a.GroupExtService/Nothing", "/", ""] {
            assert_eq!((today.of_missing(path), older.of_missing(path)), (None, None), "{path}");
        }
    }
}
