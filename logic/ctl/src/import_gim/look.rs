//! What a dry run sees of the databases that an import would go into: whether they can be reached, have tables of this version, and
//! nothing that an import would meet.
//!
//! Always holds: they are only read, and nothing is made where there is none.

use std::{path::Path, time::Duration};

use gim_config::{
    data_folder::DataFolder,
    sql::{
        DatabaseSettings, Dialect, Migrator,
        at_rest::{Location, TableProgress},
    },
};
use gim_logic::store::import::{BEGUN_AND_NOT_OVER, USED};

use super::context::{ImportError, Targets};
use crate::report::Report;

/// A server may take so long to see that a process is gone.
const LOOKS_MAX: u32 = 15;
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Fails where an import would; what it would make first is in the report.
pub async fn look(targets: &Targets, report: &mut Report) -> Result<(), ImportError> {
    let Targets { logic, business } = targets;
    let (logic_tables, business_tables) = (gim_logic::store::migrations(), gim_business::migrations());
    let of_logic = Tables {
        service: "logic",
        settings: &logic.database,
        data_dir: &logic.data_dir,
        file_name: gim_logic::DATABASE_FILE,
        migrations: &logic_tables,
    };
    let of_business = Tables {
        service: "business",
        settings: &business.database,
        data_dir: &business.data_dir,
        file_name: gim_business::DATABASE_FILE,
        migrations: &business_tables,
    };
    let (at_logic, at_business) = (of_logic.find(report).await?, of_business.find(report).await?);
    if is_in_use(&at_logic).await {
        return Err(of_logic.refusal("the database is in use by a gim-logic: stop all of them before"));
    }
    let number = async |tables: &Tables, at: &Location, statement| {
        let number = at.number(statement).await.map_err(|error| tables.refusal(error))?;
        Ok::<_, ImportError>(number.unwrap_or(0))
    };
    let is_begun = number(&of_logic, &at_logic, BEGUN_AND_NOT_OVER).await? > 0;
    let used =
        number(&of_logic, &at_logic, USED).await? + number(&of_business, &at_business, gim_business::USED).await?;
    if !is_begun && used > 0 {
        return Err(ImportError::Used);
    }
    Ok(())
}

/// Whether a logic node has the database, and not only had it a moment ago.
async fn is_in_use(at: &Location) -> bool {
    let names = gim_logic::claimed_names();
    for _ in 0..LOOKS_MAX {
        if !at.is_claimed(&names).await {
            return false;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    true
}

/// The tables of a service.
struct Tables<'a> {
    service: &'static str,
    settings: &'a DatabaseSettings,
    data_dir: &'a Path,
    file_name: &'static str,
    migrations: &'a [(Dialect, Migrator)],
}

impl Tables<'_> {
    /// Where they are, unless somebody uses them or they are of another version.
    async fn find(&self, report: &mut Report) -> Result<Location, ImportError> {
        let &Self { service, settings, data_dir, file_name, migrations } = self;
        if let Some(folder) = settings.folder(data_dir, file_name).map_err(|error| self.refusal(error))? {
            DataFolder::check_free(&folder, service).map_err(|error| self.refusal(error))?;
        }
        let at = Location::new(settings, data_dir, file_name).map_err(|error| self.refusal(error))?;
        match at.progress(migrations).await.map_err(|error| self.refusal(error))? {
            Some(TableProgress { unknown: Some(version), .. }) => {
                let problem =
                    format!("the tables of {} are of a newer version: they have the migration {version}", at.name());
                return Err(self.refusal(problem));
            }
            Some(TableProgress { applied, newest, .. }) if applied == newest => {}
            Some(_) => report.note("tables that the import brings up to date first", at.name()),
            None => report.note("databases that the import makes first", at.name()),
        }
        Ok(at)
    }

    fn refusal(&self, problem: impl ToString) -> ImportError {
        ImportError::Target { service: self.service, problem: problem.to_string() }
    }
}
