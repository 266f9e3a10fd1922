//! The gRPC services: metadata and messages in, one use case, messages out. Nothing is decided here but who asks.

mod access;
mod caller;
mod conversation;
mod device;
mod event;
mod gateway;
mod group;
mod message;
mod operator;
mod room;
mod words;

use std::sync::Arc;

use gim_proto::logic::{
    access_int_service_server::{self as access_int, AccessIntServiceServer},
    conversation_ext_service_server::{self as conversation_ext, ConversationExtServiceServer},
    device_ext_service_server::{self as device_ext, DeviceExtServiceServer},
    device_int_service_server::{self as device_int, DeviceIntServiceServer},
    event_int_service_server::{self as event_int, EventIntServiceServer},
    gateway_ext_service_server::{self as gateway_ext, GatewayExtServiceServer},
    group_ext_service_server::{self as group_ext, GroupExtServiceServer},
    group_int_service_server::{self as group_int, GroupIntServiceServer},
    message_ext_service_server::{self as message_ext, MessageExtServiceServer},
    message_int_service_server::{self as message_int, MessageIntServiceServer},
    operator_int_service_server::{self as operator_int, OperatorIntServiceServer},
    room_ext_service_server::{self as room_ext, RoomExtServiceServer},
    room_int_service_server::{self as room_int, RoomIntServiceServer},
    word_int_service_server::{self as word_int, WordIntServiceServer},
};
use tonic::service::RoutesBuilder;

use crate::usecase::UseCases;

/// What health checks may ask for by name.
pub const SERVICE_NAMES: [&str; 14] = [
    access_int::SERVICE_NAME,
    conversation_ext::SERVICE_NAME,
    message_ext::SERVICE_NAME,
    message_int::SERVICE_NAME,
    device_ext::SERVICE_NAME,
    device_int::SERVICE_NAME,
    event_int::SERVICE_NAME,
    gateway_ext::SERVICE_NAME,
    group_ext::SERVICE_NAME,
    group_int::SERVICE_NAME,
    operator_int::SERVICE_NAME,
    room_ext::SERVICE_NAME,
    room_int::SERVICE_NAME,
    word_int::SERVICE_NAME,
];

/// The services over the use cases.
#[derive(Debug, Clone)]
struct Services {
    use_cases: Arc<UseCases>,
}

/// Adds everything that logic offers to backends, clients and operators.
pub fn add_to(routes: &mut RoutesBuilder, use_cases: Arc<UseCases>) {
    let services = Services { use_cases };
    routes
        .add_service(AccessIntServiceServer::new(services.clone()))
        .add_service(ConversationExtServiceServer::new(services.clone()))
        .add_service(MessageExtServiceServer::new(services.clone()))
        .add_service(MessageIntServiceServer::new(services.clone()))
        .add_service(DeviceExtServiceServer::new(services.clone()))
        .add_service(DeviceIntServiceServer::new(services.clone()))
        .add_service(EventIntServiceServer::new(services.clone()))
        .add_service(GatewayExtServiceServer::new(services.clone()))
        .add_service(GroupExtServiceServer::new(services.clone()))
        .add_service(GroupIntServiceServer::new(services.clone()))
        .add_service(OperatorIntServiceServer::new(services.clone()))
        .add_service(RoomExtServiceServer::new(services.clone()))
        .add_service(RoomIntServiceServer::new(services.clone()))
        .add_service(WordIntServiceServer::new(services));
}
