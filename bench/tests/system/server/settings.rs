//! What each service of a server is started with.

use gim_business::BusinessSettings;
use gim_config::grpc::GrpcSettings;
use gim_conn::{ConnSettings, settings::CertificateSettings};
use gim_legacy::Dialect;
use gim_logic::LogicSettings;

use super::{
    BUSINESS_ADMIN, BUSINESS_FILES, BUSINESS_GRPC, CONN_ADMIN, CONN_GRPC, CONN_TCP, CONN_TLS, CONN_TLS_WEB_SOCKET,
    CONN_WEB_SOCKET, CertificateFiles, LOGIC_ADMIN, LOGIC_CLIENTS, LOGIC_GRPC, OLDER, OLDER_STEP, Server,
};

impl Server {
    pub(super) fn conn_settings(&self) -> ConnSettings {
        let mut settings = ConnSettings { logic: vec![self.url(LOGIC_GRPC)], ..ConnSettings::default() };
        settings.tcp.listen = self.endpoint(CONN_TCP);
        settings.websocket.listen = self.endpoint(CONN_WEB_SOCKET);
        settings.grpc = self.grpc_settings(CONN_GRPC);
        settings.admin.listen = self.endpoint(CONN_ADMIN);
        settings.session.sign_in_timeout_ms = self.sign_in_timeout_ms;
        if let Some(packets) = self.bounds.packets {
            (settings.session.packets_burst, settings.session.packets_per_s) = (packets, 1);
        }
        settings.legacy = self
            .dialects()
            .map(|dialect| {
                let [tcp, websocket, _] = older_ports(dialect).map(|port| self.endpoint(port));
                gim_conn::settings::LegacySettings { dialect, tcp, websocket }
            })
            .collect();
        settings.drain.reconnect_spread_ms = 500;
        if let Some(CertificateFiles { certificate, key, .. }) = self.certificates.clone() {
            settings.tls.listen = self.endpoint(CONN_TLS);
            settings.tls.websocket_listen = self.endpoint(CONN_TLS_WEB_SOCKET);
            settings.tls.certificates = vec![CertificateSettings { certificate, key }];
        }
        settings
    }

    pub(super) fn logic_settings(&self) -> LogicSettings {
        let data_dir = self.data.path().to_owned();
        let mut settings = LogicSettings { data_dir, ..LogicSettings::default() };
        if let Some(calls) = self.bounds.address_calls {
            (settings.clients.address_calls_burst, settings.clients.address_calls_per_s) = (calls, 1);
        }
        if let Some(requests) = self.bounds.user_requests {
            (settings.limits.user_requests_burst, settings.limits.user_requests_per_s) = (requests, 1);
        }
        settings.grpc = self.grpc_settings(LOGIC_GRPC);
        settings.clients.listen = self.endpoint(LOGIC_CLIENTS);
        settings.admin.listen = self.endpoint(LOGIC_ADMIN);
        settings.business.endpoint = self.url(BUSINESS_GRPC).into();
        settings.legacy = self
            .dialects()
            .map(|dialect| {
                let listen = self.endpoint(older_ports(dialect)[2]);
                gim_logic::settings::LegacySettings { dialect, listen }
            })
            .collect();
        settings
    }

    pub(super) fn business_settings(&self) -> BusinessSettings {
        let data_dir = self.data.path().to_owned();
        let mut settings = BusinessSettings { data_dir, ..BusinessSettings::default() };
        settings.grpc = self.grpc_settings(BUSINESS_GRPC);
        settings.admin.listen = self.endpoint(BUSINESS_ADMIN);
        settings.files.listen = self.endpoint(BUSINESS_FILES);
        settings.logic.endpoint = self.url(LOGIC_GRPC).into();
        settings.sign_in.wrong_codes_per_address_max = self.wrong_codes_per_address_max;
        settings
    }

    fn grpc_settings(&self, port: u16) -> GrpcSettings {
        let internal_token = self.internal_token.to_owned();
        let settings = GrpcSettings { listen: self.endpoint(port), internal_token, ..GrpcSettings::default() };
        match self.certificates.clone() {
            None => settings,
            Some(CertificateFiles { ca, certificate, key }) => {
                GrpcSettings { certificate, key, client_ca: ca.clone(), server_ca: ca, ..settings }
            }
        }
    }

    fn dialects(&self) -> impl Iterator<Item = Dialect> {
        Dialect::all().filter(|_| self.has_older_clients)
    }
}

/// TCP, WebSocket and gRPC of a dialect.
pub(super) fn older_ports(dialect: Dialect) -> [u16; 3] {
    OLDER.map(|port| port + OLDER_STEP * dialect.index() as u16)
}
