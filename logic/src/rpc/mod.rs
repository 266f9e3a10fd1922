//! The gRPC services: metadata and messages in, one use case, messages out. Nothing is decided here but who asks.

mod access;
mod caller;
mod device;
mod gateway;
mod group;
mod message;
mod room;

use std::sync::Arc;

use gim_config::{
    grpc::{self, GrpcServer, GrpcSettings},
    listen::ListenError,
};
use gim_proto::logic::{
    access_int_service_server::{self as access_int, AccessIntServiceServer},
    device_ext_service_server::{self as device_ext, DeviceExtServiceServer},
    device_int_service_server::{self as device_int, DeviceIntServiceServer},
    gateway_ext_service_server::{self as gateway_ext, GatewayExtServiceServer},
    group_ext_service_server::{self as group_ext, GroupExtServiceServer},
    group_int_service_server::{self as group_int, GroupIntServiceServer},
    link_service_server::LinkServiceServer,
    message_ext_service_server::{self as message_ext, MessageExtServiceServer},
    message_int_service_server::{self as message_int, MessageIntServiceServer},
    room_ext_service_server::{self as room_ext, RoomExtServiceServer},
    room_int_service_server::{self as room_int, RoomIntServiceServer},
};
use tonic::service::RoutesBuilder;

use crate::{link::service::Link, usecase::App};

/// Largest message of a stream from a conn node.
const LINK_MESSAGE_BYTES_MAX: usize = 32 << 20;

/// What health checks may ask for by name.
const SERVICE_NAMES: [&str; 10] = [
    access_int::SERVICE_NAME,
    message_ext::SERVICE_NAME,
    message_int::SERVICE_NAME,
    device_ext::SERVICE_NAME,
    device_int::SERVICE_NAME,
    gateway_ext::SERVICE_NAME,
    group_ext::SERVICE_NAME,
    group_int::SERVICE_NAME,
    room_ext::SERVICE_NAME,
    room_int::SERVICE_NAME,
];

/// The services of logic over one [`App`].
#[derive(Debug, Clone)]
struct Services {
    app: Arc<App>,
}

/// Serves everything that logic offers so far.
pub async fn serve(settings: &GrpcSettings, app: Arc<App>) -> Result<GrpcServer, ListenError> {
    let services = Services { app: app.clone() };
    let link = LinkServiceServer::new(Link::new(app))
        .max_decoding_message_size(LINK_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(LINK_MESSAGE_BYTES_MAX);
    let mut routes = RoutesBuilder::default();
    routes
        .add_service(AccessIntServiceServer::new(services.clone()))
        .add_service(MessageExtServiceServer::new(services.clone()))
        .add_service(MessageIntServiceServer::new(services.clone()))
        .add_service(DeviceExtServiceServer::new(services.clone()))
        .add_service(DeviceIntServiceServer::new(services.clone()))
        .add_service(GatewayExtServiceServer::new(services.clone()))
        .add_service(GroupExtServiceServer::new(services.clone()))
        .add_service(GroupIntServiceServer::new(services.clone()))
        .add_service(RoomExtServiceServer::new(services.clone()))
        .add_service(RoomIntServiceServer::new(services))
        .add_service(link);
    grpc::serve(settings, routes, &SERVICE_NAMES).await
}
