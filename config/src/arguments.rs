//! The command line that the three services share.

use std::path::PathBuf;

/// Arguments of `gim-conn`, `gim-logic` and `gim-business`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServiceArguments {
    /// Settings file (TOML); without one the documented defaults hold
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for what the service keeps, instead of the setting `data_dir`
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Added to the port of every address in the settings, so that several servers run side by side
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port_offset: u16,
}
