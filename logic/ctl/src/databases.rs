//! The databases of logic and business that a command is about, as the settings of the services name them.

use std::path::Path;

use gim_business::BusinessSettings;
use gim_config::{
    SettingsError,
    sql::{DatabaseSettings, Dialect, Migrator, at_rest::Location},
};
use gim_logic::LogicSettings;

use crate::service_files::SettingsFiles;

/// Which databases.
#[derive(Debug, Clone, clap::Args)]
pub struct DatabaseArguments {
    #[command(flatten)]
    files: SettingsFiles,
    /// Only the database of this service
    #[arg(long)]
    only: Option<Owner>,
}

/// Whose database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Owner {
    Logic,
    Business,
}

/// One database.
pub struct OwnDatabase {
    /// Whose.
    pub owner: Owner,
    /// Where it is.
    pub location: Location,
    /// Of its service.
    pub migrations: Vec<(Dialect, Migrator)>,
    /// Each tells how many rows are still where an earlier version had them; nothing where there is no such table any more.
    pub rows_left: &'static [&'static str],
    /// Of its service.
    pub settings: OwnSettings,
}

/// The settings of a service that has a database.
#[derive(Debug, Clone)]
pub enum OwnSettings {
    Logic(Box<LogicSettings>),
    Business(Box<BusinessSettings>),
}

/// Where business keeps the files of users, if it does: no copy of a database holds them.
pub fn files_of_users(databases: &[&OwnDatabase]) -> Option<String> {
    databases.iter().find_map(|database| match &database.settings {
        OwnSettings::Business(settings) => {
            let (files, folder) = (&settings.files, settings.files.folder_in(&settings.data_dir));
            let are_kept = !files.listen.is_off() || folder.exists();
            let place = || match files.bucket.as_str() {
                "" => folder.display().to_string(),
                bucket => format!("the bucket {bucket}"),
            };
            are_kept.then(place)
        }
        OwnSettings::Logic(_) => None,
    })
}

impl DatabaseArguments {
    /// Logic's first: of two copies that are not of one moment, business has to have the later one.
    pub fn databases(&self) -> Result<Vec<OwnDatabase>, SettingsError> {
        let mut databases = Vec::new();
        if self.only != Some(Owner::Business) {
            let settings = self.files.logic()?;
            databases.push(OwnDatabase {
                owner: Owner::Logic,
                location: location(&settings.database, &settings.data_dir, Owner::Logic)?,
                migrations: gim_logic::store::migrations().into(),
                rows_left: &gim_logic::store::upgrade::LEFT,
                settings: OwnSettings::Logic(Box::new(settings)),
            });
        }
        if self.only != Some(Owner::Logic) {
            let settings = self.files.business()?;
            databases.push(OwnDatabase {
                owner: Owner::Business,
                location: location(&settings.database, &settings.data_dir, Owner::Business)?,
                migrations: gim_business::migrations().into(),
                rows_left: &[],
                settings: OwnSettings::Business(Box::new(settings)),
            });
        }
        Ok(databases)
    }
}

/// What its settings name was looked at when they were read.
fn location(settings: &DatabaseSettings, data_dir: &Path, owner: Owner) -> Result<Location, SettingsError> {
    let location = Location::new(settings, data_dir, owner.file_name());
    location.map_err(|error| SettingsError::Invalid(error.to_string()))
}

impl Owner {
    /// As in `logic.db`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logic => "logic",
            Self::Business => "business",
        }
    }

    /// Its file in a backup.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Logic => gim_logic::DATABASE_FILE,
            Self::Business => gim_business::DATABASE_FILE,
        }
    }
}
