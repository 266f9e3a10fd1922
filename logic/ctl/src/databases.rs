//! The databases of logic and business that a command is about, as the settings of the services name them.

use std::path::{Path, PathBuf};

use gim_business::BusinessSettings;
use gim_config::{
    ServiceArguments, SettingsError, settings,
    sql::{DatabaseSettings, Dialect, Migrator, at_rest::Location},
};
use gim_logic::LogicSettings;

/// Which databases.
#[derive(Debug, Clone, clap::Args)]
pub struct DatabaseArguments {
    /// Settings file of logic, as the service reads it
    #[arg(long, value_name = "FILE")]
    logic_config: Option<PathBuf>,
    /// Settings file of business, as the service reads it
    #[arg(long, value_name = "FILE")]
    business_config: Option<PathBuf>,
    /// Folder for what logic and business keep, instead of the setting `data_dir` of both
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
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
    /// Of its service.
    pub settings: OwnSettings,
}

/// The settings of a service that has a database.
#[derive(Debug, Clone)]
pub enum OwnSettings {
    Logic(Box<LogicSettings>),
    Business(Box<BusinessSettings>),
}

impl DatabaseArguments {
    /// Logic's first: of two copies that are not of one moment, business has to have the later one.
    pub fn databases(&self) -> Result<Vec<OwnDatabase>, SettingsError> {
        let mut databases = Vec::new();
        if self.only != Some(Owner::Business) {
            let settings: LogicSettings = settings::load_for(&self.service(&self.logic_config))?;
            databases.push(OwnDatabase {
                owner: Owner::Logic,
                location: location(&settings.database, &settings.data_dir, Owner::Logic)?,
                migrations: gim_logic::store::migrations().into(),
                settings: OwnSettings::Logic(Box::new(settings)),
            });
        }
        if self.only != Some(Owner::Logic) {
            let settings: BusinessSettings = settings::load_for(&self.service(&self.business_config))?;
            databases.push(OwnDatabase {
                owner: Owner::Business,
                location: location(&settings.database, &settings.data_dir, Owner::Business)?,
                migrations: gim_business::migrations().into(),
                settings: OwnSettings::Business(Box::new(settings)),
            });
        }
        Ok(databases)
    }

    fn service(&self, config: &Option<PathBuf>) -> ServiceArguments {
        ServiceArguments { config: config.clone(), data: self.data.clone(), ..ServiceArguments::default() }
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
