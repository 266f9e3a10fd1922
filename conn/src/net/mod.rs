//! Sockets: the only place of this crate where a system call on one is made.

pub mod listen;
pub mod socket;
