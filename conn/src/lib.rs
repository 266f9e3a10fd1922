//! A conn node: it holds the long connections of clients.
//!
//! ```text
//!              ┌── reactor 0 (thread): epoll, listener, slab, wheel, rooms ──┐
//!   clients ═══╡                                                            ╞═ bounded channels ═ bridge (Tokio) ═══ logic
//!              └── reactor 1 (thread): epoll, listener, slab, wheel, rooms ──┘
//! ```
//!
//! - [`reactor`]: one thread each, owns everything it touches; no lock, no `async`, no blocking call
//! - [`wire`] and [`session`]: frames, packets and the rules of a connection, without IO
//! - [`net`]: the system calls on sockets
//! - `affinity`: which core a reactor runs on
//! - [`certificates`]: what TLS connections begin with, loaded again at SIGHUP
//! - [`bridge`]: the only asynchronous part: batches to logic and back
//!
//! A packet's way through these, in nine steps, opens ARCHITECTURE.md; the code carries `path n/9` at each.

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
pub use start::{Conn, StartError, start, start_with};
