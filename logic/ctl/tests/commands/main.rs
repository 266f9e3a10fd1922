//! The commands of `gim-ctl` as an operator runs them: against running services, and over files.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod asking;
mod bad_input;
mod databases;
mod pushing;
mod server;
mod settings_files;
