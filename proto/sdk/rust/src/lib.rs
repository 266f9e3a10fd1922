//! The client of gim for programs in Rust: what a client decides ([`core`]) and what an app sees ([`message`]).
//!
//! [`core`] does no IO: whoever drives it brings sockets, a clock and a store. The vectors of `proto/sdk/vectors` hold for it.

pub mod changes;
pub mod core;
pub mod message;
pub mod wire;
