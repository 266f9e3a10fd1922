//! The contract of logic on MariaDB and Redis.

#![allow(clippy::unwrap_used)] // helpers of tests fail loudly

mod contract;
mod on_servers;
mod support;
