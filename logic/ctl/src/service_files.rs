//! The settings files of services: which service one is for, and those of logic and business as a command names them.

use std::path::{Path, PathBuf};

use gim_business::BusinessSettings;
use gim_config::{ServiceArguments, Settings, SettingsError, settings};
use gim_logic::LogicSettings;

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Service {
    Conn,
    Logic,
    Business,
}

/// Its name does not tell.
#[derive(Debug, thiserror::Error)]
#[error("{}: its name tells no service; say --service conn, logic or business", .0.display())]
pub struct NoService(PathBuf);

impl Service {
    /// The one that the name of a file speaks of, as `/etc/gim/logic-2.toml` does.
    pub fn of_file(path: &Path) -> Result<Self, NoService> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let of_name = [(Self::Conn, "conn"), (Self::Logic, "logic"), (Self::Business, "business")];
        let mut found = of_name.into_iter().filter(|(_, word)| name.contains(word)).map(|(service, _)| service);
        match (found.next(), found.next()) {
            (Some(service), None) => Ok(service),
            _ => Err(NoService(path.to_owned())),
        }
    }
}

/// Where the settings of logic and business are.
#[derive(Debug, Clone, clap::Args)]
pub struct SettingsFiles {
    /// Settings file of logic, as the service reads it
    #[arg(long, value_name = "FILE")]
    logic_config: Option<PathBuf>,
    /// Settings file of business, as the service reads it
    #[arg(long, value_name = "FILE")]
    business_config: Option<PathBuf>,
    /// Folder for what logic and business keep, instead of the setting `data_dir` of both
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl SettingsFiles {
    /// Those of logic, as it would start with them.
    pub fn logic(&self) -> Result<LogicSettings, SettingsError> {
        self.load(&self.logic_config)
    }

    /// Those of business.
    pub fn business(&self) -> Result<BusinessSettings, SettingsError> {
        self.load(&self.business_config)
    }

    fn load<S: Settings>(&self, config: &Option<PathBuf>) -> Result<S, SettingsError> {
        let arguments =
            ServiceArguments { config: config.clone(), data: self.data.clone(), ..ServiceArguments::default() };
        settings::load_for(&arguments)
    }
}

/// What services read from their environment.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_tells_its_service() {
        let service = |name: &str| Service::of_file(Path::new(name)).ok();
        assert_eq!(service("/etc/gim/logic-2.toml"), Some(Service::Logic));
        assert_eq!(service("conn.toml"), Some(Service::Conn));
        assert_eq!(service("/etc/logic/business.toml"), Some(Service::Business));
        assert_eq!([service("settings.toml"), service("conn-and-logic.toml"), service("")], [None; 3]);
    }
}
