//! The listeners of clients that speak an older dialect of gRPC: what they ask is asked of today's methods in today's words.
//!
//! On the tasks of calls. TLS, proxies and pages are those of the clients' listener; bounds are for all of them together.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use gim_config::{
    grpc::{self, ClientListeners, GrpcServer, OlderMethods},
    listen::ListenError,
};
use gim_legacy::{
    Dialect,
    calls::{Calls, Today, Upstream},
};
use gim_proto::business::User;
use tonic::{Extensions, Status, async_trait, metadata::MetadataMap, service::RoutesBuilder};

use crate::{
    clients::business::Business,
    dispatch::Dispatch,
    settings::{LegacySettings, LogicSettings},
};

/// What older clients call, of every dialect.
pub fn methods() -> Vec<OlderMethods> {
    Dialect::all().map(methods_of).collect()
}

/// Opens a listener for each dialect in the settings.
pub async fn start(
    settings: &LogicSettings,
    listeners: &ClientListeners<'_>,
    dispatch: &Dispatch,
    business: &Arc<Business>,
) -> Result<Vec<GrpcServer>, ListenError> {
    let mut servers = Vec::new();
    for LegacySettings { dialect, listen } in &settings.legacy {
        let today = Today::new(Upward { dispatch: dispatch.clone(), business: business.clone() });
        let mut routes = RoutesBuilder::default();
        (dialect.calls().add_to)(&mut routes, today);
        servers.push(listeners.serve_older(listen, routes, methods_of(*dialect)).await?);
    }
    Ok(servers)
}

fn methods_of(dialect: Dialect) -> OlderMethods {
    let Calls { methods, descriptors, .. } = *dialect.calls();
    OlderMethods { dialect: dialect.name(), counted_as: methods, descriptors }
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
