//! Numbers, stores and routes every message.
//!
//! ```text
//!  conn nodes ══ link ══╗                   ┌── clients: users, tokens
//!                       ╠═▶ use cases ──────┼── store: inbox writer, SQL
//!  clients, backends ── rpc, http           └── delivery ══ link ══▶ conn nodes
//!                                                  └── shared state: who is where
//! ```
//! - [`domain`]: what a message, an id, a route is; no IO
//! - [`settings`]: what can be set
//! - [`store`]: SQL, and the inbox writer that group-commits
//! - [`walk`]: the way over what is stored in the order of ids, for whoever tells others what happened
//! - [`shared_state`]: who is where, rooms and leases, in this process or in Redis
//! - [`clients`]: the service that knows users and tokens; tokens that are checked here
//! - [`delivery`]: the attached conn nodes, their queues, and the way of a message into them
//! - [`events`]: what happened, told to a webhook
//! - [`error`]: what can go wrong with a request, and what the caller is told
//! - [`usecase`]: the use cases, one per file
//! - [`offline_push`]: what is handed out, after it was stored, for people who are away
//! - [`dispatch`]: the one way from every door to what clients may call
//! - [`link`]: the streams of conn nodes; [`rpc`]: the gRPC services; [`http`]: the clients' listener;
//!   [`legacy`]: those of older clients
//! - [`service`]: start and stop, and what it does by itself while it runs
//!
//! The lowest layer stands first: a module names modules of lower layers only, never one of its own layer or above it. The test
//! `tests/source.rs` states the layers and holds the modules to them. [`metrics`] stands beside the domain.
//!
//! All of it runs on Tokio. Nothing is global: several services may live in one process.

pub mod clients;
pub mod delivery;
pub mod dispatch;
pub mod domain;
pub mod error;
pub mod events;
pub mod http;
pub mod legacy;
pub mod link;
pub mod metrics;
pub mod offline_push;
pub mod rpc;
pub mod service;
pub mod settings;
pub mod shared_state;
pub mod store;
pub mod usecase;
pub mod walk;

pub use service::{
    DATABASE_FILE, Logic, Offline, StartError, claimed_names, open_offline, raise_seqs, run, run_raising_seqs, start,
};
pub use settings::LogicSettings;
