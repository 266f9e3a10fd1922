//! The logic side of the link: one stream per conn node.
//!
//! ```text
//!            ┌ session (reader task) ── lanes (by user) ──▶ app ──▶ inbox writer
//!  Up items ─┤                       ├─ room lane ────────▶ app ──▶ shared state
//!            └                       └─ tasks (sign-in, sync, business)      │
//!  Down items ◀── pump task ◀── DownQueue ◀────────── replies, fan-out ◀─────┘
//! ```
//! [`nodes`] knows which nodes are attached; each has a [`down_queue`]. [`service`] accepts a stream, [`session`] reads it,
//! [`packet`] decides about the packets in it. All of it runs on Tokio.

pub mod down_queue;
mod groups;
mod lanes;
pub mod nodes;
mod packet;
pub mod service;
mod session;
pub mod tally;

pub use service::hint;
