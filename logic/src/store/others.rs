//! What walks ask the database, done by the threads of everybody else. Any task.
//!
//! Walks run on threads that give way ([`gim_config::threads`]). What such a thread holds while it waits for a processor, be it the one
//! connection that writes, a place among those that read, locks of rows, or of what is shared in memory, would be kept from those who do
//! not give way. So whatever is asked over a connection that others use as well goes through here.

use gim_config::threads;

use super::error::StoreError;

/// What came of it.
pub async fn ask<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let stopping = || Err(StoreError::Busy("this process stops".into()).into());
    threads::asked_of_others(work).await.unwrap_or_else(stopping)
}
