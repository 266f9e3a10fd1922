//! The logic side of the link: one stream per conn node.
//!
//! ```text
//!            ┌ session (reader task) ── user queues ──▶ use case ──▶ inbox writer
//!  Up items ─┤                       ├─ room queue ───▶ use case ──▶ shared state
//!            └                       └─ tasks (sign-in, sync, business)   │
//!  Down items ◀── pump task ◀── queue of the node ◀── replies, fan-out ◀──┘
//! ```
//! [`service`] accepts a stream, [`session`] reads it, [`packet`] decides about the packets in it. All of it runs on Tokio.

mod packet;
mod room_queue;
pub mod service;
mod session;
mod user_queues;
