//! The two things to stand on.

use gim_config::{sql::DatabaseSettings, testing};

/// What a test stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// SQLite, and shared state in the process.
    Embedded,
    /// MariaDB and Redis.
    Servers,
}

/// Makes two tests of each function that takes a [`Backend`].
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::backend::Backend::Embedded).await;
            })*
        }
        mod servers {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::backend::Backend::Servers).await;
            })*
        }
    };
}

impl Backend {
    /// A database of its own for each call; SQLite keeps it in the data folder.
    pub fn database(self) -> DatabaseSettings {
        match self {
            Self::Embedded => DatabaseSettings::default(),
            Self::Servers => DatabaseSettings { url: testing::mysql_database(), ..DatabaseSettings::default() },
        }
    }
}
