//! What business answers, on MariaDB.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod rpc;
