//! Numbers, stores and routes every message.
//!
//! ```text
//!  conn nodes ══ link ══╗                ┌── business (users, tokens)
//!                       ╠═▶ app ─────────┼── store: inbox writer, SQL
//!  clients, products ── rpc              └── route: shared state ──▶ fan-out ══ link ══▶ conn nodes
//! ```
//! - [`domain`]: what a message, an id, a route is; no IO
//! - [`app`]: the use cases, one per file
//! - [`link`]: the streams of conn nodes; [`rpc`]: the gRPC services
//! - [`gateway`]: where to connect, over plain HTTP
//! - [`access`]: tokens that are checked here
//! - [`store`]: SQL, and the inbox writer that group-commits
//! - [`route`]: who is where, and the way of a message to the nodes
//! - [`business`]: the client of the service that knows users and tokens
//! - [`service`]: start and stop; [`keeper`]: leases, while it runs
//!
//! All of it runs on Tokio. Nothing is global: several services may live in one process.

pub mod access;
pub mod app;
pub mod business;
pub mod domain;
pub mod error;
pub mod gateway;
pub mod keeper;
pub mod link;
pub mod metrics;
pub mod route;
pub mod rpc;
pub mod service;
pub mod settings;
pub mod store;

pub use service::{Logic, StartError, start};
pub use settings::LogicSettings;
