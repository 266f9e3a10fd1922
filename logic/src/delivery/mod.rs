//! From messages to the conn nodes that hold their receivers: which nodes are attached, what waits to go down to each, what each
//! told of itself, and how a message finds its way to them.
//!
//! ```text
//!  inbox writer ──▶ fan-out ── routes of the receivers? ──▶ shared state
//!                      │
//!                      └──▶ nodes ──▶ one queue per attached node ──▶ link
//! ```
//! [`nodes`] knows the attached nodes; each has a [`node_queue`], and a [`node_report`] of what it told of itself. [`fanout`]
//! turns receivers into pushes and fills the queues, [`rooms`] does that for rooms. [`catch_up`] tells nodes how far inboxes and
//! groups got, where a push did not reach them. What goes down the link is built here, and the answers to requests in the link
//! itself. Any task.

pub mod catch_up;
pub mod fanout;
mod item_batch;
pub mod node_queue;
pub mod node_report;
pub mod nodes;
mod owed_news;
pub mod rooms;
