//! The tables of the business while no service uses them: for what an operator does with them.

use std::collections::HashMap;

use gim_config::{data_folder::DataFolder, sql::Database};

use crate::{
    service::{DATABASE_FILE, StartError, take_folder},
    settings::BusinessSettings,
    store::{ImportedFriend, ImportedToken, ImportedUser, Store, StoreError, migrations},
};

/// The tables. Of a data folder nobody else has them meanwhile.
#[derive(Debug)]
pub struct Offline {
    database: Database,
    store: Store,
    _data_folder: Option<DataFolder>,
}

/// Opens the tables that the settings name, and makes them where they are not there.
///
/// # Errors
/// Where the data folder is in use, or the database is refused.
pub async fn open_offline(settings: BusinessSettings) -> Result<Offline, StartError> {
    let data_folder = take_folder(&settings)?;
    let database = Database::open(&settings.database, &settings.data_dir, DATABASE_FILE, &migrations()).await?;
    Ok(Offline { store: Store::new(database.clone()), database, _data_folder: data_folder })
}

/// Of what is taken over, each says how much was new: what is there stays as it is.
impl Offline {
    /// Whether there is no user yet.
    pub async fn is_unused(&self) -> Result<bool, StoreError> {
        self.store.is_unused().await
    }

    /// Takes users over, with their ids.
    pub async fn import_users(&self, users: &[ImportedUser]) -> Result<u64, StoreError> {
        self.store.import_users(users).await
    }

    /// The phone numbers of those of these users who are there.
    pub async fn phone_numbers(&self, user_ids: &[u64]) -> Result<HashMap<u64, String>, StoreError> {
        self.store.phone_numbers(user_ids).await
    }

    /// Takes tokens over.
    pub async fn import_tokens(&self, tokens: &[ImportedToken]) -> Result<u64, StoreError> {
        self.store.import_tokens(tokens).await
    }

    /// Takes friendships and requests over, of which everybody knows.
    pub async fn import_friends(&self, friends: &[ImportedFriend]) -> Result<u64, StoreError> {
        self.store.import_friends(friends).await
    }

    /// Closes the database.
    pub async fn close(self) {
        self.database.close().await;
    }
}
