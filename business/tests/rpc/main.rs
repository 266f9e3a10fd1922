//! The business service as its callers see it: over gRPC, against a running service with its own database file and a
//! stub of logic that records what it is asked.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bad_input;
mod friend;
mod harness;
mod outages;
mod revoke;
mod running;
mod sign_in;
mod stub_logic;
mod user;
