//! The client of gim for programs in Rust: it shows every message once and in order and sends until it is answered, whatever the network does.
//!
//! ```no_run
//! use gim_client::{Client, Event, Options, Target, text_of};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let options = Options::new(7, 70).url("tcp://127.0.0.1:8002");
//!     let options = options.get_token(|_| async { Ok(Some("ticket for 7".to_owned())) });
//!     let (client, mut events) = Client::new(options)?;
//!     client.start().await;
//!     client.send(Target::User(8), "hello").await?;
//!     while let Some(event) = events.next().await {
//!         if let Event::Message(message) = event {
//!             println!("{:?}: {}", message.from, text_of(&message));
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! ```text
//!              commands             actions, events          packets
//!   app ── Client ─────────▶ engine ───▶ core ───▶ engine ───────▶ socket ──▶ server
//!   app ◀─ Events ◀── teller ◀──┘ steps              ▲─────────────┘
//!                        └──▶ store
//! ```
//!
//! [`core`] decides and does no IO; the vectors of `proto/sdk/vectors` hold for it. `engine` runs it in one task and waits for nobody;
//! `teller` stores and tells, and `transport` reads and writes, in tasks of their own. Every queue between them is bounded. All of it ends when
//! the app drops its [`Events`].

pub mod changes;
pub mod content;
pub mod core;
pub mod files;
pub mod message;
pub mod notices;
pub mod services;
pub mod storage;
pub mod wire;

mod client;
mod engine;
mod error;
mod locate;
mod options;
mod teller;
mod transport;

pub use gim_proto as proto;

#[cfg(feature = "sqlite")]
pub use self::storage::SqliteStore;
pub use self::{
    changes::{ConversationChange, ReadMark},
    client::{Client, Events, RequestOptions, SendOptions},
    content::{TypedContent, content_of, preview_of},
    core::{About, EndReason, Event, Sent, StartAt, State, local_code},
    error::{GimError, OptionsError},
    message::{Message, MessageStatus, Sender, conversation_of, text_of},
    notices::{Named, Notice, notice_of},
    options::{Options, TokenError, TokenRequest},
    storage::{MemoryStore, Store, StoreError},
    wire::Target,
};
