//! The logic side of the link: one stream per conn node.
//!
//! ```text
//!            ┌ up_stream (reads) ─── user queues ──▶ use case ──▶ inbox writer
//!  Up items ─┤                       ├─ room queue ───▶ use case ──▶ shared state
//!            │                       ├─ calls ──▶ dispatch ──▶ services of logic and of business
//!            └                       └─ tasks (sign-in, sync, business)   │
//!  Down items ◀── pump task ◀── queue of the node ◀── replies, fan-out ◀──┘
//! ```
//! [`service`] accepts a stream, [`up_stream`] reads it, [`packet`] decides about the packets in it, [`calls`] about the calls, and
//! [`items`] does what its other items ask for. All of it runs on Tokio.

pub mod calls;
mod context;
mod items;
mod packet;
mod room_queue;
pub mod service;
mod up_stream;
mod user_queues;

pub use context::LinkParts;
