//! What holds whatever logic stands on. Two binaries run these tests: `embedded` on SQLite with shared state in the process,
//! `servers` on MariaDB and Redis. A test is written once, and says nothing of what it stands on.

mod access;
mod bad_input;
mod burst;
mod business_hangs;
mod calls;
mod clients;
mod come_and_go;
mod conversation;
pub mod conversations;
pub mod crash;
mod devices;
pub mod event_streams;
pub mod events;
mod gateway;
mod group;
mod guarantees;
mod link;
mod live_events;
mod offline_push;
mod offline_push_changes;
mod offline_push_failures;
mod offline_push_services;
mod outages;
mod presence;
pub mod push_webhook;
mod repeated_pushes;
mod room;
mod rpc;
pub mod store;
mod trust;
mod typed_contents;
mod went_back;
