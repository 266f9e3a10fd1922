//! The running services that a command asks: where they are, what is shown to them, and why they did not answer, in one sentence.

use std::{error::Error as _, path::PathBuf, time::Duration};

use gim_config::{
    grpc::{self, GrpcSettings, PeerChannel},
    listen::Endpoint,
};
use gim_proto::ResultCode;
use tonic::{Code, Request, Status};

/// Where the services are, and what is shown to them.
#[derive(Debug, Clone, clap::Args)]
pub struct RemoteArguments {
    /// The gRPC address of a logic node
    #[arg(long, value_name = "URL", env = "GIM_CTL_LOGIC", default_value = "http://127.0.0.1:8010")]
    pub logic: String,
    /// The gRPC address of business; empty where a backend has taken its place
    #[arg(long, value_name = "URL", env = "GIM_CTL_BUSINESS", default_value = "http://127.0.0.1:8020")]
    pub business: String,
    /// A file with the `internal_token` of the services, as arguments can be seen by others on the host
    #[arg(long, value_name = "FILE", env = "GIM_CTL_INTERNAL_TOKEN_FILE")]
    internal_token_file: Option<PathBuf>,
    /// The `internal_token` itself
    #[arg(
        long,
        value_name = "TOKEN",
        env = "GIM_CTL_INTERNAL_TOKEN",
        hide_env_values = true,
        default_value = "",
        conflicts_with = "internal_token_file",
        hide_default_value = true
    )]
    internal_token: String,
    /// PEM file of the authorities that are believed behind https://
    #[arg(long, value_name = "FILE")]
    server_ca: Option<PathBuf>,
    /// PEM file of the certificate that is shown, where services ask for one
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// PEM file of the key of that certificate
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// How long one call may last
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    timeout_ms: u64,
}

/// Why a service was not asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address is none.
    #[error("--{option}: {problem}")]
    Address {
        /// Of the command line.
        option: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The file with the token is of no use.
    #[error("cannot read the token in {}: {source}", .path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is to be sent is of no use.
    #[error("cannot read {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nobody is there, or something else is.
    #[error("nobody answers at {address}: {problem}")]
    Away {
        /// Whom we asked.
        address: String,
        /// What came of it.
        problem: String,
    },
    /// It did not take us for somebody whom it may believe.
    #[error(
        "{address} refuses us ({problem}): it wants the internal_token of its settings (--internal-token-file), or a certificate (--certificate)"
    )]
    Untrusted {
        /// Whom we asked.
        address: String,
        /// In its words.
        problem: String,
    },
    /// It is older than this program.
    #[error("{address} does not know {method}: it is older than this gim-ctl, or no {service} of gim")]
    Old {
        /// Whom we asked.
        address: String,
        /// What we asked.
        method: &'static str,
        /// What should be there.
        service: &'static str,
    },
    /// It does not do it.
    #[error("{address}: {problem}")]
    Refused {
        /// Whom we asked.
        address: String,
        /// In its words.
        problem: String,
        /// The same may succeed later.
        is_retryable: bool,
    },
}

/// One of the services.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Which: `logic` or `business`.
    service: &'static str,
    address: String,
    /// Calls go here.
    pub channel: PeerChannel,
}

impl RemoteArguments {
    /// A logic node.
    pub fn logic(&self) -> Result<Remote, RemoteError> {
        self.remote("logic", &self.logic)
    }

    /// Business, unless there is none.
    pub fn business(&self) -> Result<Option<Remote>, RemoteError> {
        if self.business.is_empty() { Ok(None) } else { self.remote("business", &self.business).map(Some) }
    }

    fn remote(&self, service: &'static str, address: &str) -> Result<Remote, RemoteError> {
        let fail = |problem| RemoteError::Address { option: service, problem };
        let endpoint: Endpoint = address.parse().map_err(fail)?;
        endpoint.check_service().map_err(fail)?;
        let settings = GrpcSettings {
            internal_token: self.token()?,
            server_ca: self.server_ca.clone().unwrap_or_default(),
            certificate: self.certificate.clone().unwrap_or_default(),
            key: self.key.clone().unwrap_or_default(),
            ..GrpcSettings::default()
        };
        let timeout = Some(Duration::from_millis(self.timeout_ms));
        let channel = grpc::channel(&endpoint, &settings, timeout).map_err(fail)?;
        Ok(Remote { service, address: endpoint.to_string(), channel })
    }

    fn token(&self) -> Result<String, RemoteError> {
        let Some(path) = &self.internal_token_file else { return Ok(self.internal_token.clone()) };
        let text = std::fs::read_to_string(path).map_err(|source| RemoteError::Token { path: path.clone(), source })?;
        Ok(text.trim().to_owned())
    }
}

impl Remote {
    /// A call with a name in the logs of the services.
    pub fn request<T>(message: T) -> Request<T> {
        let mut request = Request::new(message);
        let request_id = format!("gim-ctl-{:x}", std::process::id());
        gim_proto::metadata::put(&mut request, gim_proto::metadata::REQUEST_ID, &request_id);
        request
    }

    /// Why `method` was not done.
    pub fn error(&self, method: &'static str, status: &Status) -> RemoteError {
        let (address, problem) = (self.address.clone(), status.message().to_owned());
        if ResultCode::is_untrusted(status) {
            return RemoteError::Untrusted { address, problem };
        }
        let has_judged = ResultCode::number_in_details(status).is_some();
        match status.code() {
            Code::Unimplemented if !has_judged => RemoteError::Old { address, method, service: self.service },
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown | Code::Internal
                if !has_judged =>
            {
                let problem = cause(status);
                let said = problem.strip_prefix(&format!("{address}: ")).unwrap_or(&problem);
                let problem = in_options(said);
                RemoteError::Away { address, problem }
            }
            _ => {
                let is_retryable = ResultCode::of_status(status).is_retryable();
                RemoteError::Refused { address, problem, is_retryable }
            }
        }
    }
}

impl RemoteError {
    /// Whether the same may succeed in a moment.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Refused { is_retryable: true, .. })
    }
}

/// The same with our options in the place of the settings of a service.
fn in_options(problem: &str) -> String {
    problem.replace("our grpc.server_ca", "our --server-ca").replace("our grpc.certificate", "our --certificate")
}

/// What the system said, which stands at the end of a chain.
fn cause(status: &Status) -> String {
    let mut cause = status.source();
    while let Some(source) = cause.and_then(|cause| cause.source()) {
        cause = Some(source);
    }
    cause.map_or_else(|| status.message().to_owned(), ToString::to_string)
}
