//! The client over real sockets, against servers and stores that misbehave.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod client {
    mod connections;
    mod files;
    mod slow_app;
    pub mod stand_in;
    mod stores;
    mod tls;
}
#[allow(dead_code, reason = "the simulation uses the rest")]
#[path = "simulation/server.rs"]
mod server;
