//! Groups, as product backends, members and conn nodes see them.

mod conversion;
mod harness;
mod large;
mod normal;
mod requests;
mod rights;
