//! The three services together, in this process, on addresses of their own: what a client and a backend see of them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

mod bad_arguments;
mod bad_packets;
mod calls;
mod certified;
mod client_flow;
mod files;
mod from_outside;
mod gim_client;
mod misfits;
mod older;
mod own_users;
mod reads;
mod replaced;
mod restart;
mod sdk;
mod sdk_in_tls;
mod server;
mod strangers;
mod ticket_backend;
