//! WebSocket (RFC 6455), without IO: an HTTP request becomes a connection ([`upgrade`]), its frames become messages
//! ([`frames`]), and ends have a code ([`close`]).
//!
//! A packet is one binary message. Nothing is compressed: no extension is agreed on, so reserved bits end the connection.
//! Always holds: an open connection owns no memory here, but for a message whose fragments are still coming.

pub mod close;
pub mod frames;
pub mod upgrade;

pub use close::Violation;
