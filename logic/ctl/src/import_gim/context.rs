//! What all steps need: where it comes from and goes to, and the report.

use std::collections::HashMap;

use gim_business::BusinessSettings;
use gim_logic::{LogicSettings, store::StoreError};
use gim_proto::check;

use super::source::Source;
use crate::report::Report;

/// Why something is not taken whose id is none.
pub const BAD_ID: &str = "the id is 0 or too large";

/// What to take over, and where to.
#[derive(Debug)]
pub struct Options {
    /// gim's MySQL.
    pub mysql: String,
    /// gim's Redis.
    pub redis: String,
    /// In which gim wrote its times; none for that of the server.
    pub time_zone: Option<String>,
    /// Where it comes to.
    pub targets: Box<Targets>,
    /// Everything is read and judged, and nothing written.
    pub is_dry_run: bool,
}

/// The settings of the services whose databases it comes into.
#[derive(Debug)]
pub struct Targets {
    /// Of logic.
    pub logic: LogicSettings,
    /// Of business.
    pub business: BusinessSettings,
}

/// Why it ended early. What was taken by then stays.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An address of something else.
    #[error("{option}: it must begin with {}", .schemes.join(" or "))]
    Scheme {
        /// Of the command line.
        option: &'static str,
        /// How it may begin.
        schemes: &'static [&'static str],
    },
    /// One of gim's servers lets nobody in.
    #[error("gim's {0} does not answer within 10 seconds")]
    NoAnswer(&'static str),
    /// gim's MySQL.
    #[error("gim's MySQL: {0}")]
    Source(#[from] sqlx::Error),
    /// gim's Redis.
    #[error("gim's Redis: {0}")]
    Tokens(#[from] redis::RedisError),
    /// A dry run found a database that an import could not go into.
    #[error("{service}: {problem}")]
    Target {
        /// Whose database.
        service: &'static str,
        /// Why not.
        problem: String,
    },
    /// The database of logic was not opened.
    #[error("logic: {0}")]
    OpenLogic(#[from] gim_logic::StartError),
    /// The database of business was not opened.
    #[error("business: {0}")]
    OpenBusiness(#[from] gim_business::StartError),
    /// The database of logic.
    #[error("the database of logic: {0}")]
    Logic(#[from] StoreError),
    /// The database of business.
    #[error("the database of business: {0}")]
    Business(#[from] gim_business::StoreError),
    /// Somebody else's ids and seqs are there.
    #[error(
        "the databases are in use: ids and seqs of gim would meet others; import into databases that nobody has used"
    )]
    Used,
}

/// Where it comes to, while no service runs.
pub struct Target {
    pub logic: gim_logic::Offline,
    pub business: gim_business::Offline,
}

/// What all steps need.
pub struct Import {
    pub source: Source,
    pub target: Option<Target>,
    /// When the first run began, Unix seconds: messages are of no later second, so that the ids of new ones come after theirs.
    pub begun_s: i64,
    pub now_ms: i64,
    /// Of a dry run: the newest seqs that would be here.
    pub read_seqs: HashMap<u64, u64>,
    pub report: Report,
}

impl Import {
    /// Whether an id is one; if not, it is in the report.
    pub fn is_id(&mut self, kind: &'static str, id: u64) -> bool {
        let is_id = check::id("", id).is_ok();
        if !is_id {
            self.report.refuse(kind, BAD_ID, id);
        }
        is_id
    }
}

/// Opens the databases: both have to be unused, or to hold an earlier run. Returns when the first run began, too.
pub async fn open(targets: Targets, now_s: i64) -> Result<(Target, i64), ImportError> {
    let logic = gim_logic::open_offline(targets.logic).await?;
    let business = gim_business::open_offline(targets.business).await?;
    let begun_s = match logic.store.imports.begun().await? {
        Some(begun_s) => begun_s,
        None if logic.store.imports.is_unused().await? && business.is_unused().await? => {
            logic.store.imports.begin(now_s).await?;
            now_s
        }
        None => return Err(ImportError::Used),
    };
    Ok((Target { logic, business }, begun_s))
}
