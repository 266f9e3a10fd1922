//! What the tests of the store stand on: each runs on SQLite and on MariaDB.

use gim_config::sql::DatabaseSettings;

use super::*;
use crate::{
    domain::{
        file::{FileHash, FileId},
        token::{NewToken, StoredToken},
    },
    store::user::SignedIn,
};

/// Makes two tests of each function that takes a [`Store`].
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let (_folder, store) = $crate::store::testing::temporary().await;
                super::$name(store).await;
            })*
        }
        mod mysql {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::store::testing::on_mysql().await).await;
            })*
        }
    };
}

/// A store in a folder of its own, which is removed with the returned guard.
pub async fn temporary() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&DatabaseSettings::default(), folder.path(), "test.db", &migrations()).await.unwrap();
    (folder, Store::new(database))
}

/// A store in a database of its own on a MariaDB.
pub async fn on_mysql() -> Store {
    let settings = DatabaseSettings { url: gim_config::testing::mysql_database(), ..DatabaseSettings::default() };
    Store::new(Database::open(&settings, "".as_ref(), "", &migrations()).await.unwrap())
}

/// Signs a new user in on device 1.
pub async fn user(store: &Store, phone_number: &str) -> u64 {
    store.admit(phone_number, 1, &NewToken::make(0, 1_000).stored).await.unwrap().user_id
}

/// Begins an upload of nine bytes.
pub async fn begun(store: &Store, user_id: u64, now_ms: i64) -> FileId {
    let file_id = FileId::random();
    let upload = Upload { file_id, user_id, name: "a".into(), size_bytes: 9, expires_at_ms: 500 };
    let quota = UploadQuota { uploads_max: 10, files_max: 100, bytes_max: 1_000, since_ms: 0 };
    store.begin_upload(&upload, None, quota, now_ms).await.unwrap().unwrap();
    file_id
}

/// A content of nine bytes that nobody has looked at, with this hash.
pub fn unchecked(content_id: FileId, byte: u8) -> Content {
    Content {
        hash: FileHash([byte; 32]),
        content_id,
        size_bytes: 9,
        kind: "text/plain".into(),
        state: ContentState::Unchecked,
        width: 0,
        height: 0,
        thumbnail_bytes: 0,
    }
}

impl Store {
    /// Signs a user in with a token that is there already.
    pub async fn admit(&self, phone_number: &str, device_id: u64, token: &StoredToken) -> Result<SignedIn, StoreError> {
        let (token, now_ms) = (token.clone(), token.created_at_ms);
        let make = move |_| NewToken { text: String::new(), stored: token.clone() };
        Ok(self.sign_in(phone_number, device_id, now_ms, make).await?.0)
    }
}
