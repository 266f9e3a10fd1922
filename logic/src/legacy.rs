//! The listeners of clients that speak an older dialect of gRPC: what they ask is asked of today's methods in today's words.
//!
//! On the tasks of calls. Bounds, TLS, proxies and pages are those of the clients' listener, for each of these by itself.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use gim_config::{
    grpc::{self, ClientsSettings, GrpcServer, GrpcSettings, OlderMethods},
    listen::ListenError,
};
use gim_legacy::calls::{Calls, Today, Upstream};
use gim_proto::business::User;
use tonic::{Extensions, Status, async_trait, metadata::MetadataMap, service::RoutesBuilder};

use crate::{
    clients::business::Business,
    dispatch::Dispatch,
    settings::{LegacySettings, LogicSettings},
};

/// Opens a listener for each dialect in the settings.
pub async fn start(
    settings: &LogicSettings,
    dispatch: &Dispatch,
    business: &Arc<Business>,
) -> Result<Vec<GrpcServer>, ListenError> {
    let mut servers = Vec::new();
    for LegacySettings { dialect, listen } in &settings.legacy {
        let clients = ClientsSettings { listen: listen.clone(), ..settings.clients.clone() };
        let today = Today::new(Upward { dispatch: dispatch.clone(), business: business.clone() });
        servers.push(serve(dialect.name(), dialect.calls(), &clients, &settings.grpc, today).await?);
    }
    Ok(servers)
}

async fn serve(
    dialect: &'static str,
    calls: &Calls,
    clients: &ClientsSettings,
    settings: &GrpcSettings,
    today: Today,
) -> Result<GrpcServer, ListenError> {
    let mut routes = RoutesBuilder::default();
    (calls.add_to)(&mut routes, today);
    let methods = OlderMethods { dialect, counted_as: calls.methods, descriptors: calls.descriptors };
    grpc::serve_older_clients(clients, settings, routes, methods).await
}

/// The way to today's methods.
struct Upward {
    dispatch: Dispatch,
    business: Arc<Business>,
}

#[async_trait]
impl Upstream for Upward {
    async fn call(
        &self,
        method: &'static str,
        message: Vec<u8>,
        metadata: MetadataMap,
        extensions: Extensions,
    ) -> Result<Bytes, Status> {
        self.dispatch.call_for(method, &message, &metadata.into_headers(), extensions).await
    }

    fn take_share(&self, method: &str, extensions: &Extensions) -> Result<(), Status> {
        grpc::take_share(extensions, method)
    }

    async fn users(&self, user_ids: &[u64]) -> HashMap<u64, User> {
        self.business.users(user_ids).await
    }
}
