//! The contract of logic on SQLite, with shared state in the process.

#![allow(clippy::unwrap_used)] // helpers of tests fail loudly

mod contract;
mod on_sqlite;
mod support;
