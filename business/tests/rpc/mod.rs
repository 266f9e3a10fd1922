//! The business service as its callers see it: over gRPC, against a running service with a database of its own and a stub of
//! logic that records what it is asked.

mod bad_input;
mod codes;
mod files;
mod friend;
pub mod harness;
mod revoke;
mod running;
mod sign_in;
mod stub_logic;
mod stub_webhook;
mod user;
mod vouched;
mod web;
