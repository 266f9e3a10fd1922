//! The command line that the three services share.

use std::path::PathBuf;

/// Arguments of `gim-conn`, `gim-logic` and `gim-business`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServiceArguments {
    /// Settings file (TOML); without one the documented defaults hold
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for what the service keeps, instead of the setting `data_dir`
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Added to the ports of this service's listeners and of the other services that the settings file names, so that
    /// several servers run side by side. Another service that an environment variable names stays where that says, unless it
    /// has the port that the file gives it
    #[arg(long, global = true, value_name = "N", default_value_t = 0)]
    pub port_offset: u16,
    /// Asks the service that runs with these settings whether it is ready, and exits with 0 if so: a health check for containers
    #[arg(long)]
    pub check_ready: bool,
    /// The commit that the program was built from, where whoever built it said so
    #[arg(skip)]
    pub commit: Option<&'static str>,
}

/// The version that `--version` tells: that of the workspace, with the commit.
pub fn version(commit: Option<&str>) -> &'static str {
    format!("{} ({})", env!("CARGO_PKG_VERSION"), commit.unwrap_or("commit unknown")).leak()
}
