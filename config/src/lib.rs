//! What every gim binary starts with, in the order in which `main` uses it:
//!
//! - [`arguments`]: the command line that all services share
//! - [`settings`]: one commented TOML per service, overridden by the environment, unknown keys refused by name,
//!   renamed ones with their new one; [`settings_check`] and [`settings_shown`]: all mistakes in them at once, and what holds
//! - [`traces`]: spans of requests; [`trace_export`] (feature `otlp`): told to a receiver of OpenTelemetry
//! - [`logging`]: structured logs on standard error
//! - [`slow`]: what took long, in the log
//! - [`metric_names`]: the names of metrics and their help texts; [`metrics`]: those that every service has
//! - [`ready`] and [`admin`]: `/metrics`, `/healthz` and `/readyz` on a listener of their own; [`admin_page`] and
//!   [`ready_check`] ask there
//! - [`grpc`]: serving with health, reflection, request ids and the internal token; lazily connected channels
//! - [`endpoints`] and [`dns_name`]: the addresses of a service with several nodes
//! - [`refused_peers`]: what is said once about callers that come again and again; [`seldom`]: what is said at times
//! - [`certificate`]: certificates and keys, checked at start
//! - [`in_gauge`]: what a gauge counts while it is there
//! - [`acceptor`]: connections as they come to a listener for HTTP
//! - [`networks`]: whose word about a client's address counts
//! - [`data_folder`]: the lock on what a service keeps
//! - [`file_watch`]: whether files that others renew have changed
//! - [`files`]: how many files the process may have open, and who may read those that it makes
//! - [`gather`]: questions that share a read
//! - [`places`]: places that are given away by turns between users
//! - [`rations`] and [`request_shares`]: what each user may take per second, and ask of a service
//! - [`patience`]: how a start waits for a server that is away; [`outage`]: how the log tells of one later
//! - [`jwt`] and [`jwt_crypto`] (feature `jwt`): JSON Web Tokens, their key files and what signs them
//! - [`shutdown`]: the first signal drains, the second stops, and SIGHUP reads again (`reload`), as [`reload_requests`] does; [`supervisor`]: what systemd is told of it
//! - [`threads`]: threads that give way to those of everybody else
//! - [`sql`] (feature `sql`): opening and migrating a database
//! - [`webhook`] (feature `webhook`): signed calls to an endpoint of the operator's; [`public_addresses`]: where they may go
//! - `testing` (feature `testing`): the databases that tests run against, and the check of a crate's layers
//! - [`service`]: the frame of `main` that ties these together and turns any failure into one sentence and exit code 1
//!
//! All of it runs on Tokio or at start-up, nothing on the thread of a reactor: no byte of a long connection passes through here.
//! What a service serves and reads does: [`grpc`], [`gather`] and [`sql`] are on the path of a call.

pub mod acceptor;
pub mod admin;
pub mod admin_page;
pub mod arguments;
pub mod bounded_http;
pub mod certificate;
pub mod data_folder;
pub mod dns_name;
pub mod endpoints;
pub mod file_watch;
pub mod files;
pub mod gather;
pub mod grpc;
#[cfg(feature = "webhook")]
pub mod https_client;
pub mod in_gauge;
#[cfg(feature = "jwt")]
pub mod jwt;
#[cfg(feature = "jwt")]
pub mod jwt_crypto;
pub mod listen;
mod log_origin;
pub mod logging;
pub mod metric_names;
pub mod metrics;
pub mod networks;
pub mod outage;
pub mod page_json;
pub mod patience;
pub mod places;
mod process_metrics;
#[cfg(feature = "webhook")]
pub mod public_addresses;
pub mod rations;
pub mod ready;
pub mod ready_check;
pub mod refused_peers;
mod reload;
pub mod reload_requests;
mod renamed_keys;
pub mod request_shares;
mod secret_files;
pub mod seldom;
pub mod service;
mod service_links;
pub mod settings;
pub mod settings_check;
pub mod settings_shown;
pub mod shutdown;
pub mod slow;
#[cfg(feature = "sql")]
pub mod sql;
pub mod supervisor;
#[cfg(feature = "testing")]
pub mod testing;
pub mod threads;
pub mod trace_export;
#[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "without a receiver nobody reads what it is told"))]
pub mod traces;
#[cfg(feature = "webhook")]
pub mod webhook;

pub use arguments::ServiceArguments;
pub use ready::Readiness;
pub use renamed_keys::{RemovedKey, RenamedKey};
pub use settings::{Settings, SettingsError};
