//! The SQL and the errors in which databases differ. All else is common.

use gim_config::sql::Dialect;

/// Inserts a user unless the phone number has one.
pub fn insert_new_user(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "INSERT INTO user (phone_number, nickname, sex, avatar_url, extra, created_at_ms, updated_at_ms) \
             VALUES (?, '', 0, '', '', ?, ?) ON CONFLICT (phone_number) DO NOTHING"
        }
        Dialect::Mysql => {
            "INSERT IGNORE INTO user (phone_number, nickname, sex, avatar_url, extra, created_at_ms, updated_at_ms) \
             VALUES (?, '', 0, '', '', ?, ?)"
        }
    }
}
