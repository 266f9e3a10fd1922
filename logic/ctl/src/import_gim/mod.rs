//! Takes over what gim (the Go server, as of December 2025) kept.
//!
//! - [`source`], [`tokens`]: gim's MySQL and Redis, which are only read.
//! - [`places`]: what stands where in an inbox.
//! - [`context`]: what all steps need.
//! - [`look`]: what a dry run sees of the databases.
//! - [`users`], [`messages`]: the steps, one after the other.
//!
//! Always holds: what is written together is one transaction, and a row that is there stays as it is. So the command may be killed at
//! any moment and started again: messages go on after the last id that was taken, inboxes after the newest seq that is there, and
//! all else is looked at once more. Ids of messages follow from gim's own, and come out the same each time.

mod context;
mod look;
mod messages;
mod places;
mod source;
mod tokens;
mod users;

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::timeout;

pub use self::context::{Options, Targets};
use self::{
    context::{Import, ImportError, open},
    look::look,
    source::Source,
    tokens::Tokens,
};
use crate::report::Report;

/// How long one of gim's servers may take to let us in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes everything over; tells what was taken, and what was not and why.
pub async fn run(options: Options) -> Result<Report, ImportError> {
    check_scheme("--mysql", &options.mysql, &["mysql://", "mariadb://"])?;
    check_scheme("--redis", &options.redis, &["redis://", "rediss://"])?;
    let source = Source::connect(&options.mysql, options.time_zone.as_deref());
    let source = timeout(CONNECT_TIMEOUT, source).await.map_err(|_| ImportError::NoAnswer("MySQL"))??;
    let tokens = Tokens::connect(&options.redis);
    let tokens = timeout(CONNECT_TIMEOUT, tokens).await.map_err(|_| ImportError::NoAnswer("Redis"))??;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let mut report = Report::new(options.is_dry_run, &[users::KINDS, messages::KINDS].concat());
    let (target, begun_s) = if options.is_dry_run {
        look(&options.targets, &mut report).await?;
        (None, now_ms / 1_000)
    } else {
        let (target, begun_s) = open(*options.targets, now_ms / 1_000).await?;
        (Some(target), begun_s)
    };
    let mut import = Import { source, target, begun_s, now_ms, read_seqs: HashMap::new(), report };
    import.users().await?;
    import.devices().await?;
    import.tokens(tokens).await?;
    import.friends().await?;
    import.groups().await?;
    import.messages().await?;
    import.inboxes().await?;
    import.seqs().await?;
    import.acks().await?;
    if let Some(target) = import.target {
        target.logic.close().await;
        target.business.close().await;
    }
    Ok(import.report)
}

fn check_scheme(option: &'static str, url: &str, schemes: &'static [&'static str]) -> Result<(), ImportError> {
    match schemes.iter().any(|scheme| url.starts_with(scheme)) {
        true => Ok(()),
        false => Err(ImportError::Scheme { option, schemes }),
    }
}
