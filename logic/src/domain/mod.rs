//! What things are, and their rules: no IO, no tasks, no locks but atomics. Everything here may be used on any thread.

pub mod byte_budget;
pub mod caller;
pub mod clock;
pub mod conversation;
pub mod device;
pub mod group;
pub mod kick;
pub mod locate;
pub mod message;
pub mod message_id;
pub mod out_of_date;
pub mod preview;
pub mod push_device;
pub mod reading;
pub mod refusal;
pub mod registrations;
pub mod route;
pub mod settled_ids;
pub mod short_id;
pub mod stored_event;
pub mod word_filter;
