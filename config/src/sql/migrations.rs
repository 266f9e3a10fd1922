//! Migrations that a program carries as files, one `NUMBER_WHAT_IT_DOES.sql` each.
//!
//! sqlx's own macro does the same at the price of building its drivers a second time, for the compiler.

use include_dir::{Dir, File};
use sqlx::{
    SqlSafeStr as _,
    migrate::{Migration, MigrationType, Migrator},
};

/// The migrations in these files, by their number.
///
/// # Panics
/// Where a file has another name, or is no UTF-8: found by any test that opens a database.
pub fn migrator(files: &'static Dir<'static>) -> Migrator {
    let migration = |file: &'static File<'static>| {
        let path = file.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let (number, description) =
            name.and_then(|name| name.split_once('_')).expect("a migration is named NUMBER_WHAT_IT_DOES.sql");
        let number = number.parse().expect("the name of a migration begins with its number");
        let statements = file.contents_utf8().expect("a migration is UTF-8");
        let has_no_transaction = statements.starts_with("-- no-transaction");
        let description = description.replace('_', " ").into();
        Migration::new(number, description, MigrationType::Simple, statements.into_sql_str(), has_no_transaction)
    };
    Migrator::with_migrations(files.files().map(migration).collect())
}
