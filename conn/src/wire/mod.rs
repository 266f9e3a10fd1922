//! The wire, without IO: bytes in, frames out, and back. Nothing here knows a socket, a clock or a thread.
//!
//! - [`frame`]: the length-value header of TCP
//! - [`encoded`]: a packet for clients, encoded once for every framing
//! - [`intake`]: from reads to whole frames, keeping only an unfinished tail
//! - [`packet`]: the envelope inside a frame, borrowed from it; the one seam where another dialect would be decoded
//! - [`transport`]: the layers between a socket and its packets: [`proxy`], [`tls`], [`ws`]
//! - [`ws`]: WebSocket, from the upgrade to the close frame; [`http`]: what else is asked on its port
//! - [`outbound`]: what waits to be written

pub mod encoded;
pub mod frame;
pub mod http;
pub mod intake;
pub mod outbound;
pub mod packet;
pub mod proxy;
pub mod tls;
pub mod transport;
pub mod ws;
