//! The clients' listener: what apps and pages reach, and nothing that is for services.
//!
//! Always holds: it has bounds of its own, of the same size as those of the listener of services, so that a flood here takes no place
//! there. The listeners of older clients are within the same: an address has one share at all of them together.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use tonic::service::RoutesBuilder;

use super::{
    Entrance, GrpcServer, GrpcSettings,
    older_methods::OlderMethods,
    peer_tls::ListenerTls,
    peers::Peers,
    problem_of_descriptors, reflection,
    status_codes::StatusCodes,
    web::{Door, Origins, Pages},
    wrong_port::{Speakers, WrongPort},
};
use crate::{
    files,
    listen::{Endpoint, ListenError},
    networks::Networks,
};

/// The section `[clients]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientsSettings {
    /// Where apps and pages call; empty for nowhere.
    pub listen: Endpoint,
    /// What is shown to them; empty serves without TLS.
    pub certificate: PathBuf,
    /// The key of `certificate`.
    pub key: PathBuf,
    /// Pages that may call, as `https://app.example.com`.
    pub origins: Vec<String>,
    /// Who may tell for whom they call.
    pub proxies: Networks,
    /// What an address may call in each second, where dear calls count as several; 0 for no bound.
    pub address_calls_per_s: u32,
    /// The same at once.
    pub address_calls_burst: u32,
}

impl Default for ClientsSettings {
    fn default() -> Self {
        Self {
            listen: Endpoint::new("127.0.0.1:8012"),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            origins: Vec::new(),
            proxies: Networks::default(),
            address_calls_per_s: 1_000,
            address_calls_burst: 10_000,
        }
    }
}

impl ClientsSettings {
    /// Refuses what would keep out everybody.
    pub fn validate(&self) -> Result<(), String> {
        if self.certificate.as_os_str().is_empty() != self.key.as_os_str().is_empty() {
            return Err("clients.key: must be set where clients.certificate is, and only there".into());
        }
        if self.address_calls_burst < self.address_calls_per_s.max(100) {
            return Err("clients.address_calls_burst: must be at least 100, and clients.address_calls_per_s".into());
        }
        let is_origin = |text: &str| {
            let host = text.split_once("://").filter(|(scheme, _)| !scheme.is_empty()).map_or("", |(_, host)| host);
            text == "null" || !host.is_empty() && !host.contains(['/', '?', '#', '*', ' '])
        };
        match self.origins.iter().find(|origin| !is_origin(origin)) {
            Some(origin) => {
                Err(format!("clients.origins: `{origin}` has to be as in https://app.example.com, without a path"))
            }
            None => Ok(()),
        }
    }
}

/// The listeners of clients: of today's, and of older ones.
#[derive(Debug)]
pub struct ClientListeners<'a> {
    clients: &'a ClientsSettings,
    settings: GrpcSettings,
    /// All that older clients call, whether they have a listener or not.
    older: &'a [OlderMethods],
    peers: Arc<Peers>,
}

impl<'a> ClientListeners<'a> {
    /// Bounded together as of `[grpc]`. Who comes to the wrong one of them is told so.
    pub fn new(clients: &'a ClientsSettings, settings: &GrpcSettings, older: &'a [OlderMethods]) -> Self {
        let ClientsSettings { address_calls_per_s, address_calls_burst, .. } = *clients;
        let settings = GrpcSettings { address_calls_per_s, address_calls_burst, ..settings.clone() };
        let peers = Arc::new(Peers::new(&settings, clients.proxies.clone(), files::raise_limit()));
        Self { clients, settings, older, peers }
    }

    /// Serves `routes` to today's clients, with reflection of what is theirs. What is no call is answered by `pages`.
    pub async fn serve(&self, mut routes: RoutesBuilder, pages: Pages) -> Result<GrpcServer, ListenError> {
        reflection::add_for_clients(&mut routes);
        self.open(&self.clients.listen, &self.settings, routes, pages, None).await
    }

    /// Serves the methods of older clients, and nothing else. Refusals have the result code as their number.
    pub async fn serve_older(
        &self,
        listen: &Endpoint,
        routes: RoutesBuilder,
        methods: OlderMethods,
    ) -> Result<GrpcServer, ListenError> {
        // As gim answered at all times.
        let settings = GrpcSettings { status_codes: StatusCodes::Gim, ..self.settings.clone() };
        self.open(listen, &settings, routes, Arc::new(|_| None), Some(methods)).await
    }

    async fn open(
        &self,
        listen: &Endpoint,
        settings: &GrpcSettings,
        routes: RoutesBuilder,
        pages: Pages,
        older: Option<OlderMethods>,
    ) -> Result<GrpcServer, ListenError> {
        let tls = ListenerTls::of_clients(self.clients).map_err(ListenError::Settings)?;
        let today = Speakers::of_today(gim_proto::CLIENT_FILE_DESCRIPTOR_SET);
        let others = self.older.iter().map(|methods| Speakers::from(*methods)).chain([today]);
        let wrong_port = WrongPort::new(older.map_or(today, Speakers::from), others).map_err(problem_of_descriptors)?;
        let entrance = Entrance {
            listen,
            settings,
            tls,
            door: Door::Clients { origins: Origins::new(&self.clients.origins) },
            pages,
            descriptors: older.map_or(gim_proto::CLIENT_FILE_DESCRIPTOR_SET, |older| older.descriptors),
            older,
            wrong_port,
            peers: self.peers.clone(),
        };
        entrance.open(routes).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_browser_says_as_its_origin_is_refused() {
        let refusal = |origin: &str| {
            ClientsSettings { origins: vec![origin.into()], ..ClientsSettings::default() }.validate().unwrap_err()
        };
        for origin in ["app.example.com", "https://app.example.com/", "https://*.example.com", "*", ""] {
            assert!(refusal(origin).starts_with("clients.origins: `"), "{origin}");
        }
        let alone = ClientsSettings { certificate: "own.pem".into(), ..ClientsSettings::default() };
        assert!(alone.validate().unwrap_err().starts_with("clients.key: must be set"));
    }
}
