//! Events out: what happened, told to a webhook of the operator's, and to backends that follow it by gRPC.
//!
//! [`told`] says what an event looks like and which are wanted, [`outlet`] is the task that hands them to the webhook, and
//! [`dead_letters`] keeps what nobody took; [`streams`] are for those who keep their places themselves. [`live`] is what is not stored. Always holds: events leave in the order of their ids, each that is stored at least once, and no send waits for it.

pub mod dead_letters;
pub mod live;
mod live_queue;
pub mod outlet;
mod stream;
mod stream_head;
pub mod streams;
pub mod told;

pub use live::LiveEvents;
pub use outlet::{EventOutlet, WALK};
pub use streams::EventStreams;
