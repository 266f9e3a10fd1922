//! What business answers, on SQLite.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod outages;
mod rpc;
