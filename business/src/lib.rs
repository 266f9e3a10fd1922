//! Users, tokens and friends: the replaceable business service.
//!
//! A backend with users of its own implements `UserIntService/Auth` and leaves this service out. The layers, from the
//! outside in; each knows only those below it, which `tests/source.rs` checks:
//!
//! - `offline`: what is done with the tables while no service runs.
//! - `web`: the chat page, and its sign-in.
//! - `files`: what users upload and download, on a listener of its own.
//! - `rpc`: the gRPC services. Reads who calls, checks fields by name, turns errors into statuses, logs them once.
//! - `usecase`: one use case per function, read top-down: sign-in, token check, profile, friends.
//! - `store` and `logic`: the SQL tables, and the calls to the logic service (device ids, pushes).
//! - `webhook_codes`: sign-in codes that a webhook sends on.
//! - `jwt`: tokens that logic can check by itself.
//! - `domain`: rules without IO; what depends on time takes it as an argument.
//!
//! Everything runs on the Tokio runtime that [`start`] is called on. There is no global state: several services may
//! live in one process.

mod clock;
mod domain;
mod error;
mod files;
mod jwt;
mod logic;
mod metrics;
mod offline;
mod rpc;
mod service;
mod settings;
mod store;
mod usecase;
mod web;
mod webhook_codes;

pub use domain::code::{CodeCheck, CodeCheckError, CodeSendError, SentCode};
pub use offline::{Offline, open_offline};
pub use service::{Business, DATABASE_FILE, StartError, run, start, start_with_code_check};
pub use settings::{
    AddedBy, BusinessSettings, FilesSettings, FriendSettings, JwtSettings, Limits, LogicSettings, SignInSettings,
    WebSettings,
};
pub use store::{ImportedFriend, ImportedToken, ImportedUser, StoreError, USED, migrations};
