//! Groups, as backends, members and conn nodes see them.

mod conversion;
pub(super) mod harness;
mod history;
mod large;
mod normal;
mod recall;
mod requests;
mod rights;
