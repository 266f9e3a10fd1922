//! Events out: what happened, told to a webhook of the operator's.
//!
//! [`told`] says what an event looks like and which are wanted, [`outlet`] is the task that hands them out, and [`dead_letters`] keeps what
//! nobody took. Always holds: events leave in the order of their ids, each at least once, and no send waits for it.

pub mod dead_letters;
pub mod outlet;
pub mod told;

pub use outlet::{EventOutlet, WALK};
