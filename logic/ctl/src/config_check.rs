//! `config check`: everything that is wrong with settings files, each with its line. Reads files, and nothing else.

use std::path::{Path, PathBuf};

use gim_business::BusinessSettings;
use gim_config::settings_check::{Problem, problems};
use gim_conn::ConnSettings;
use gim_logic::LogicSettings;
use serde_json::json;

use crate::{
    answer::Answer,
    service_files::{NoService, Service, environment},
};

/// Which files.
#[derive(Debug, clap::Args)]
pub struct CheckArguments {
    /// Settings files of the services. Variables such as GIM_LOGIC_GRPC__LISTEN count as they do for the services
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The service that they are for, where their names do not tell
    #[arg(long)]
    service: Option<Service>,
}

/// Why a file was not looked at.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nobody knows whose it is.
    #[error(transparent)]
    Service(#[from] NoService),
    /// The settings of this program are of no use.
    #[error("settings: {0}")]
    Schema(#[from] toml::ser::Error),
}

/// Looks through all of them.
pub fn run(arguments: &CheckArguments) -> Result<Answer, CheckError> {
    let (mut lines, mut found, mut count) = (Vec::new(), Vec::new(), 0);
    for path in &arguments.files {
        let problems = of_file(path, arguments.service)?;
        count += problems.len();
        let place = |line: Option<usize>| {
            line.map_or_else(|| path.display().to_string(), |line| format!("{}:{line}", path.display()))
        };
        lines.extend(problems.iter().map(|problem| format!("{}: {}", place(problem.line), problem.text)));
        let told = problems.iter().map(|problem| json!({"line": problem.line, "problem": problem.text}));
        found.push(json!({"file": path, "problems": told.collect::<Vec<_>>()}));
    }
    lines.push(match count {
        0 => "nothing is wrong".to_owned(),
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    });
    Ok(Answer { text: lines.join("\n"), json: json!({"files": found, "problems": count}), is_good: count == 0 })
}

fn of_file(path: &Path, service: Option<Service>) -> Result<Vec<Problem>, CheckError> {
    let service = service.map_or_else(|| Service::of_file(path), Ok)?;
    let text = std::fs::read_to_string(path).map_err(|source| CheckError::Read { path: path.to_owned(), source })?;
    let environment = environment();
    Ok(match service {
        Service::Conn => problems::<ConnSettings>(&text, environment)?,
        Service::Logic => problems::<LogicSettings>(&text, environment)?,
        Service::Business => problems::<BusinessSettings>(&text, environment)?,
    })
}
