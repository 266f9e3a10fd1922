//! Rules without IO: what depends on time is told it, what needs chance makes it in one function. Any thread may call
//! them.

pub mod attempts;
pub mod code;
pub mod contact;
pub mod file;
pub mod friend;
pub mod token;
pub mod user;
