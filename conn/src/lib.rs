//! A conn node: it holds the long connections of clients.
//!
//! ```text
//!              ┌── reactor 0 (thread): epoll, listener, slab, wheel, rooms ──┐
//!   clients ═══╡                                                            ╞═ bounded channels ═ bridge (Tokio) ═══ logic
//!              └── reactor 1 (thread): epoll, listener, slab, wheel, rooms ──┘
//! ```
//!
//! From the ground up, each module names only those before it (`tests/source.rs` holds them to it):
//!
//! - [`clock`], [`ids`], [`metrics`], [`quota`], [`token_bucket`], `affinity`: what everything is counted, named and timed with
//! - [`net`]: the system calls on sockets
//! - [`wire`], then [`session`]: frames, packets and the rules of a connection, without IO
//! - [`connection`]: the record of one connection
//! - [`settings`]: what all of them are set to
//! - [`reactor`]: one thread each, owns everything it touches; no lock, no `async`, no blocking call
//! - [`certificates`]: what TLS connections begin with, loaded again at SIGHUP
//! - [`bridge`]: batches to logic and back, on Tokio
//! - [`start`]: opens and ends all of it in order, on Tokio too
//!
//! A packet's way through these has nine steps, which the table "The path of a packet" in ARCHITECTURE.md lists; the code carries
//! `path n/9` at each.

mod affinity;
pub mod bridge;
pub mod certificates;
pub mod clock;
pub mod connection;
pub mod ids;
pub mod metrics;
pub mod net;
pub mod quota;
pub mod reactor;
pub mod session;
pub mod settings;
pub mod start;
pub mod token_bucket;
pub mod wire;

pub use settings::ConnSettings;
pub use start::{Conn, StartError, run, start, start_with};
