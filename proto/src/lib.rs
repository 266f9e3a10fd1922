//! The wire of gim, generated from `proto/*.proto`, and what every speaker of it needs: result codes with their gRPC
//! status ([`code`]), close reasons ([`close`]), field checks ([`check`]), metadata names ([`metadata`]), the list of
//! methods ([`methods`]), pages of lists ([`page`]), typed contents ([`typed_content`]) and a small blocking client of the long
//! connection ([`client`]).
//!
//! Nothing here does IO but [`client`]; everything is plain data and may be used on any thread.

pub mod check;
pub mod client;
pub mod close;
pub mod code;
pub mod metadata;
pub mod methods;
pub mod page;
pub mod trace;
pub mod typed_content;

/// Clients and conn nodes: the long connection (package `connect`).
#[allow(missing_docs, clippy::all, clippy::too_many_lines)]
pub mod connect {
    tonic::include_proto!("connect");
}

/// What messages say whose content is typed (package `content`).
#[allow(missing_docs, clippy::all, clippy::too_many_lines)]
pub mod content {
    tonic::include_proto!("content");
}

/// What logic offers, and the internal link between conn and logic (package `logic`).
#[allow(missing_docs, clippy::all, clippy::too_many_lines)]
pub mod logic {
    tonic::include_proto!("logic");
}

/// What business offers (package `business`).
#[allow(missing_docs, clippy::all, clippy::too_many_lines)]
pub mod business {
    tonic::include_proto!("business");
}

pub use close::CloseReason;
pub use code::ResultCode;

/// The version of the link between conn and logic ([`logic::Hello`]): raised whenever an older peer would misread it.
pub const LINK_VERSION: u32 = 1;

/// The first command that belongs to the business: packets with such a command are handed through to it, answer included.
pub const BUSINESS_COMMAND_MIN: i32 = 1000;

/// The compiled `.proto` files as an encoded `FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The same without the services that are not for clients.
pub const CLIENT_FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/client_descriptors.bin"));

/// The calls of clients in JSON, as OpenAPI describes them; made from the `.proto` files by a test.
pub const OPENAPI: &str = include_str!("../openapi.json");
