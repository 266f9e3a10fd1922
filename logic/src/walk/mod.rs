//! The way over what is stored, in the order of ids, for whoever tells others what happened: webhooks, streams, offline pushes.
//!
//! ```text
//! let mut walk = Walk::new("events", &store, settled);                 // its place is the row "events" of the table message_walk
//! loop {
//!     let page = walk.next(limits).await;                              // waits; this process holds the walk from here on
//!     …                                                                // hand page.events out; call walk.keep() where it takes long
//!     if walk.advance(page.up_to).await.is_err() { continue }          // somebody else holds it now, or it was sent elsewhere
//! }
//! walk.leave().await;                                                  // so that another node goes on at once
//! ```
//! Who advances after the hand-out hands out at least once; who advances before it, at most once. With `move_on` in place of `advance` that is
//! noted ten times a second, however often a page is handed out. A walk begins with what is stored after its first [`Walk::next`].
//! [`Settled::get`] alone, with [`crate::store::StoredEvents::page`], is for those who keep their place themselves.
//!
//! Always holds: an id that a walk has passed is not committed any more, on whichever node ([`settling`]); a walk is held by one process at a
//! time, but for one that stood still for longer than its lease; nothing is written for a message. On threads that give way, it may be: what it
//! asks is asked by those of everybody else ([`crate::store::others`]), but for pages of a SQLite, which has connections for that.

mod look_failures;
pub mod settling;
pub mod walker;

pub use look_failures::LookFailures;
pub use settling::{Settled, Settling};
pub use walker::{PageLimits, Walk, WalkLost};
