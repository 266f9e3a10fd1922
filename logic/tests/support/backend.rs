//! What a test stands on: the binary `servers` on MariaDB and Redis, every other on an embedded database.

use gim_config::{sql::DatabaseSettings, testing};
use gim_logic::settings::SharedStateSettings;

/// Whether this binary's tests stand on servers.
pub const ON_SERVERS: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"servers");

/// A database of its own for each call; SQLite keeps it in the data folder.
pub fn database() -> DatabaseSettings {
    let url = if ON_SERVERS { testing::mysql_database() } else { String::new() };
    DatabaseSettings { url, ..DatabaseSettings::default() }
}

/// Shared state of its own for each call.
pub fn shared_state() -> SharedStateSettings {
    let (url, key_prefix) = if ON_SERVERS { testing::redis() } else { (String::new(), "gim".into()) };
    SharedStateSettings { url, key_prefix, ..SharedStateSettings::default() }
}
