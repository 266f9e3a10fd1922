//! The protocols of the web in front of gRPC services: Connect's calls with one message (in JSON or binary) and gRPC-Web (binary or
//! text), on the same paths as gRPC itself.
//!
//! On the tasks of calls. [`protocol`] says which one a request speaks, [`connect`], [`grpc_web`] and [`json`] are pure; [`service`]
//! puts them around a service of gRPC. Always holds: what the services see is gRPC with one whole message, whatever was spoken, and
//! whoever is refused is told so in what he speaks. Only messages of gRPC itself may be compressed ([`gzip`]), and count for what they
//! come to; all else that is sent compressed is refused.

mod connect;
mod door;
mod grpc_web;
mod gzip;
mod json;
mod protocol;
mod service;

pub(super) use door::{Door, DoorLayer, Origins};
pub use json::{Schema, SchemaError};
pub(super) use protocol::{Protocol, RefusedWith};
pub(super) use service::WebLayer;
pub use service::{Page, Pages};
