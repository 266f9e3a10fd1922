//! The wire, without IO: bytes in, frames out, and back. Nothing here knows a socket, a clock or a thread.
//!
//! - [`frame`]: the length-value header of TCP
//! - [`intake`]: from reads to whole frames, keeping only an unfinished tail
//! - [`packet`]: the envelope inside a frame, borrowed from it; the one seam where another dialect would be decoded
//! - [`outbound`]: what waits to be written

pub mod frame;
pub mod intake;
pub mod outbound;
pub mod packet;
