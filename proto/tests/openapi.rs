//! The description of the calls of clients in OpenAPI, made from the `.proto` files with their comments: `proto/openapi.json` is kept
//! current by the test here. `GIM_WRITE_OPENAPI=1 cargo test -p gim-proto --test openapi` writes it.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use gim_proto::{ResultCode, methods};
use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, MethodDescriptor,
};
use serde_json::{Map, Value, json};

const PATH: &str = "openapi.json";
const EMPTY: &str = "google.protobuf.Empty";

#[test]
fn the_description_of_the_calls_is_that_of_the_proto_files() {
    let made = format!("{:#}\n", Description::default().of_clients());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(PATH);
    if std::env::var_os("GIM_WRITE_OPENAPI").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    assert!(
        std::fs::read_to_string(file).unwrap() == made,
        "proto/{PATH} is not what the .proto files say: GIM_WRITE_OPENAPI=1 cargo test -p gim-proto --test openapi"
    );
}

#[test]
fn every_method_of_clients_is_described_with_its_identity() {
    let description = Description::default().of_clients();
    for method in methods::of_clients() {
        let call = &description["paths"][format!("/{method}")]["post"];
        let is_open = methods::OPEN.contains(&method.as_str());
        assert_eq!(call["security"].as_array().unwrap().is_empty(), is_open, "{method}");
    }
    let mut paths = description["paths"].as_object().unwrap().keys();
    assert!(paths.all(|path| path.contains("ExtService/") || path == "/locate"), "services have none of it");
}

/// What is described so far.
#[derive(Default)]
struct Description {
    schemas: Map<String, Value>,
    comments: HashMap<String, HashMap<Vec<i32>, String>>,
}

impl Description {
    fn of_clients(mut self) -> Value {
        let pool = DescriptorPool::decode(gim_proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut paths = BTreeMap::from([("/locate".to_owned(), locate())]);
        for service in pool.services().filter(|service| service.name().ends_with("ExtService")) {
            for method in service.methods() {
                let path = format!("/{}/{}", service.full_name(), method.name());
                paths.insert(path, json!({ "post": self.call(&method) }));
            }
        }
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "gim",
                "version": "1",
                "summary": "What apps and pages may call of gim, in JSON",
                "description": "One POST for each call, by the Connect protocol. JSON by the mapping of protobuf: numbers of 64 bits are \
                    texts (and may be sent as numbers), bytes are in base64, fields without a value are left out. Unknown fields are \
                    refused. The same paths take gRPC and gRPC-Web.",
                "license": { "name": "MIT", "identifier": "MIT" },
            },
            "servers": [{ "url": "/", "description": "Where this description is served: clients.listen of logic" }],
            "paths": paths,
            "components": {
                "schemas": self.schemas,
                "responses": { "Error": { "description": "The call was refused.", "content": { "application/json": { "schema": error() } } } },
                "securitySchemes": {
                    "user_id": identity("user_id", "The user's id in decimal."),
                    "device_id": identity("device_id", "The device's id in decimal."),
                    "token": identity("token", "What SignIn answered, or a token of the business."),
                },
            },
        })
    }

    fn call(&mut self, method: &MethodDescriptor) -> Value {
        let service = method.parent_service();
        let name = format!("{}/{}", service.full_name(), method.name());
        let identity = json!({ "user_id": [], "device_id": [], "token": [] });
        let is_open = methods::OPEN.contains(&name.as_str());
        let mut call = json!({
            "operationId": name.replace('/', "."),
            "tags": [service.full_name()],
            "security": if is_open { Vec::new() } else { vec![identity] },
            "parameters": [{
                "name": "request_id",
                "in": "header",
                "description": "Found again in logs and errors.",
                "schema": { "type": "string", "maxLength": gim_proto::metadata::REQUEST_ID_BYTES_MAX },
            }],
            "requestBody": { "required": true, "content": { "application/json": { "schema": self.message(&method.input()) } } },
            "responses": {
                "200": { "description": "Done.", "content": { "application/json": { "schema": self.message(&method.output()) } } },
                "default": { "$ref": "#/components/responses/Error" },
            },
        });
        self.comment(&mut call, &method.parent_pool_file(), method.path());
        call
    }

    /// A reference to a message, which is described too.
    fn message(&mut self, message: &MessageDescriptor) -> Value {
        let name = message.full_name().to_owned();
        if name == EMPTY {
            return json!({ "type": "object", "additionalProperties": false });
        }
        if !self.schemas.contains_key(&name) {
            // It may hold itself.
            self.schemas.insert(name.clone(), Value::Null);
            let mut properties = Map::new();
            for field in message.fields() {
                let mut schema = self.field(&field);
                self.comment(&mut schema, &message.parent_file(), field.path());
                properties.insert(field.json_name().to_owned(), schema);
            }
            let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
            self.comment(&mut schema, &message.parent_file(), message.path());
            self.schemas.insert(name.clone(), schema);
        }
        reference(&name)
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else { unreachable!("a map is of entries") };
            return json!({ "type": "object", "additionalProperties": self.kind(&entry.map_entry_value_field().kind()) });
        }
        let one = self.kind(&field.kind());
        if field.is_list() { json!({ "type": "array", "items": one }) } else { one }
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Double | Kind::Float => json!({ "type": "number" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({ "type": ["string", "integer"], "format": "int64", "pattern": "^-?[0-9]+$" })
            }
            Kind::Uint64 | Kind::Fixed64 => {
                json!({ "type": ["string", "integer"], "format": "uint64", "pattern": "^[0-9]+$" })
            }
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Message(message) => self.message(message),
            Kind::Enum(values) => self.values(values),
        }
    }

    fn values(&mut self, values: &EnumDescriptor) -> Value {
        let name = values.full_name().to_owned();
        if !self.schemas.contains_key(&name) {
            let names: Vec<_> = values.values().map(|value| value.name().to_owned()).collect();
            let mut schema =
                json!({ "anyOf": [{ "type": "string", "enum": names }, { "type": "integer", "format": "int32" }] });
            self.comment(&mut schema, &values.parent_file(), values.path());
            self.schemas.insert(name.clone(), schema);
        }
        reference(&name)
    }

    /// Puts what the `.proto` file says at this place into `schema`.
    fn comment(&mut self, schema: &mut Value, file: &FileDescriptor, path: &[i32]) {
        let comments = self.comments.entry(file.name().to_owned()).or_insert_with(|| comments_of(file));
        if let Some(comment) = comments.get(path) {
            schema["description"] = comment.as_str().into();
        }
    }
}

trait ParentFile {
    fn parent_pool_file(&self) -> FileDescriptor;
}

impl ParentFile for MethodDescriptor {
    fn parent_pool_file(&self) -> FileDescriptor {
        self.parent_service().parent_file()
    }
}

fn comments_of(file: &FileDescriptor) -> HashMap<Vec<i32>, String> {
    let info = file.file_descriptor_proto().source_code_info.clone().expect("the descriptors have comments");
    let comment = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let locations = info.location.into_iter().filter_map(|location| {
        let text = location.leading_comments.or(location.trailing_comments)?;
        Some((location.path, comment(&text)))
    });
    locations.collect()
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn identity(name: &str, description: &str) -> Value {
    json!({ "type": "apiKey", "in": "header", "name": name, "description": description })
}

fn error() -> Value {
    let codes: Vec<_> = ResultCode::ALL.iter().map(|code| format!("{} {}", code.number(), code.text())).collect();
    let reason = format!("The result code, or one of the business's own: {}.", codes.join(", "));
    let detail = json!({
        "type": "object",
        "required": ["type", "value"],
        "properties": {
            "type": { "type": "string", "examples": ["google.rpc.ErrorInfo", "google.rpc.RequestInfo"] },
            "value": { "type": "string", "contentEncoding": "base64", "description": "The message, without padding." },
            "debug": {
                "type": "object",
                "properties": {
                    "reason": { "type": "string", "description": reason },
                    "requestId": { "type": "string" },
                },
            },
        },
    });
    json!({
        "type": "object",
        "required": ["code"],
        "properties": {
            "code": { "type": "string", "description": "Connect's name of the status." },
            "message": { "type": "string", "description": "A sentence for people." },
            "details": { "type": "array", "items": detail },
        },
    })
}

fn locate() -> Value {
    let text = json!({ "type": "string" });
    let node = json!({
        "type": "object",
        "properties": { "tcp": text, "ws": text, "tls": text, "wss": text, "weight": { "type": "integer" } },
    });
    let answer = json!({
        "type": "object",
        "properties": {
            "nodes": { "type": "array", "items": node },
            "heartbeat_s": { "type": "integer" },
            "backoff": {
                "type": "object",
                "properties": { "first_ms": { "type": "integer" }, "max_ms": { "type": "integer" } },
            },
        },
    });
    let parameter = |name, schema| json!({ "name": name, "in": "query", "schema": schema });
    let answered = |description: &str| json!({ "description": description });
    json!({ "get": {
        "operationId": "locate",
        "description": "Where to open the long connection, as GatewayExtService/Locate says it, for programs without JSON of protobuf.",
        "security": [],
        "parameters": [parameter("platform", json!({ "type": "string" })), parameter("room_id", json!({ "type": "integer" }))],
        "responses": {
            "200": { "description": "These, the first one first.", "content": { "application/json": { "schema": answer } } },
            "400": answered("The question makes no sense."),
            "503": answered("No node takes connections just now."),
        },
    } })
}
