//! Why the database cannot be used, as the watch found last: whoever waited for a connection in vain is told that, and not only that
//! there was none.
//!
//! Any thread; clones share it. Always holds: what is said of a server that is away names its address, and no password.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(super) struct Away {
    name: Arc<str>,
    problem: Arc<Mutex<Option<String>>>,
}

impl Away {
    /// Of the database of that name; nothing is known of it yet.
    pub(super) fn of(name: &str) -> Self {
        Self { name: name.into(), problem: Arc::default() }
    }

    /// Which database it is, for people.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What was found just now.
    pub(super) fn found(&self, problem: Option<&str>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem.map(str::to_owned);
    }

    /// The same error of somebody who wanted a connection, with what is known.
    pub(super) fn explained(&self, error: sqlx::Error) -> sqlx::Error {
        let (kind, problem) = match error {
            sqlx::Error::PoolTimedOut => {
                let known = self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let Some(problem) = known else { return sqlx::Error::PoolTimedOut };
                (io::ErrorKind::TimedOut, problem)
            }
            sqlx::Error::Io(error) => (error.kind(), error.to_string()),
            error => return error,
        };
        sqlx::Error::Io(io::Error::new(kind, format!("{}: {problem}", self.name)))
    }
}

/// What a driver says, without the words that stand before whatever the network says.
pub(super) fn in_words(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_in_vain_is_told_what_is_known() {
        let away = Away::of("mysql://gim@db:3306/gim");
        let said = |error| away.explained(error).to_string();
        let unknown = said(sqlx::Error::PoolTimedOut);
        away.found(Some("Connection refused (os error 111)"));
        assert!(!unknown.contains("db:3306"), "{unknown}: all of its connections are busy, perhaps");
        assert!(
            said(sqlx::Error::PoolTimedOut).ends_with("mysql://gim@db:3306/gim: Connection refused (os error 111)")
        );
        away.found(None);
        assert_eq!(said(sqlx::Error::PoolTimedOut), unknown);
        let refused = sqlx::Error::Io(io::ErrorKind::ConnectionRefused.into());
        assert!(said(refused).ends_with("mysql://gim@db:3306/gim: connection refused"));
        assert_eq!(said(sqlx::Error::RowNotFound), sqlx::Error::RowNotFound.to_string());
    }
}
