//! What holds whatever logic stands on: the same tests against an embedded database with shared state in the process, and
//! against MariaDB with Redis.

#![allow(clippy::unwrap_used)] // helpers of tests fail loudly

#[macro_use]
mod backend;
mod store;
