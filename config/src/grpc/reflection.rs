//! Reflection: the services of a server, by name and form, as tools ask for them.
//!
//! Always holds: strangers are shown the services of clients alone; all others are for who may call them.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tonic::{body::Body, server::NamedService, service::RoutesBuilder};
use tonic_reflection::server::Builder;
use tower::Service;

use super::{calls::check_trust, connection::Connection, settings::GrpcSettings};

const OURS: &str = "the descriptors come from our own build";

/// Serves both versions of it, of the services of clients alone.
pub(super) fn add_for_clients(routes: &mut RoutesBuilder) {
    let builder = || Builder::configure().register_encoded_file_descriptor_set(gim_proto::CLIENT_FILE_DESCRIPTOR_SET);
    routes.add_service(builder().build_v1().expect(OURS)).add_service(builder().build_v1alpha().expect(OURS));
}

/// Serves both versions of it.
pub(super) fn add(routes: &mut RoutesBuilder, settings: &GrpcSettings) {
    let builder = |descriptors| {
        Builder::configure()
            .register_encoded_file_descriptor_set(descriptors)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let sets = [gim_proto::FILE_DESCRIPTOR_SET, gim_proto::CLIENT_FILE_DESCRIPTOR_SET];
    let [all, of_clients] = sets.map(|set| builder(set).build_v1().expect(OURS));
    routes.add_service(ByTrust { all, of_clients, settings: Arc::new(settings.clone()) });
    let [all, of_clients] = sets.map(|set| builder(set).build_v1alpha().expect(OURS));
    routes.add_service(ByTrust { all, of_clients, settings: Arc::new(settings.clone()) });
}

/// Two services of one name.
#[derive(Debug, Clone)]
struct ByTrust<S> {
    all: S,
    of_clients: S,
    settings: Arc<GrpcSettings>,
}

impl<S: NamedService> NamedService for ByTrust<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for ByTrust<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        std::task::ready!(self.all.poll_ready(context))?;
        self.of_clients.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        let connection = request.extensions().get::<Arc<Connection>>();
        let is_certified = connection.is_some_and(|connection| connection.is_certified());
        match check_trust(&request, is_certified, &self.settings) {
            Ok(()) => self.all.call(request),
            Err(_) => self.of_clients.call(request),
        }
    }
}
