//! `config show`: the settings that a service would start with, without what is secret in them.

use std::path::{Path, PathBuf};

use gim_business::BusinessSettings;
use gim_config::{Settings, SettingsError, settings, settings_shown};
use gim_conn::ConnSettings;
use gim_logic::LogicSettings;

use crate::{
    answer::Answer,
    service_files::{NoService, Service, environment},
};

/// Which file.
#[derive(Debug, clap::Args)]
pub struct ShowArguments {
    /// A settings file; without one what holds by default and by variables such as GIM_LOGIC_GRPC__LISTEN
    #[arg(value_name = "FILE", required_unless_present = "service")]
    file: Option<PathBuf>,
    /// The service that it is for, where its name does not tell
    #[arg(long)]
    service: Option<Service>,
    /// Leaves out what is as it is by default
    #[arg(long)]
    changed: bool,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// Nobody knows whose it is.
    #[error(transparent)]
    Service(#[from] NoService),
    /// The service would not start with it.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// They cannot be written.
    #[error("settings: {0}")]
    Write(#[from] toml::ser::Error),
    /// Nor so.
    #[error("settings: {0}")]
    WriteJson(#[from] serde_json::Error),
}

/// Shows one.
pub fn run(arguments: &ShowArguments) -> Result<Answer, ShowError> {
    let file = arguments.file.as_deref();
    let service = match (arguments.service, file) {
        (Some(service), _) => service,
        (None, file) => Service::of_file(file.unwrap_or(Path::new("")))?,
    };
    let table = match service {
        Service::Conn => shown::<ConnSettings>(file, arguments.changed)?,
        Service::Logic => shown::<LogicSettings>(file, arguments.changed)?,
        Service::Business => shown::<BusinessSettings>(file, arguments.changed)?,
    };
    Ok(Answer::good(toml::to_string_pretty(&table)?.trim_end().to_owned(), serde_json::to_value(&table)?))
}

fn shown<S: Settings>(file: Option<&Path>, only_changed: bool) -> Result<toml::Table, ShowError> {
    let settings: S = settings::load(file, environment())?;
    settings.validate().map_err(SettingsError::Invalid)?;
    Ok(settings_shown::shown(&settings, only_changed)?)
}
