//! Packets with commands of the business: handed through, answer included.
//!
//! Always holds: of one user, on whichever connections and nodes of conn, no more are under way than the settings allow, so that
//! the places at the business are not all one user's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use foldhash::HashMap;
use gim_proto::{ResultCode, business::HandleCommandRequest, check, connect::Reply};

use crate::{
    clients::business::Business,
    domain::{caller::Caller, message::ClientCommands},
    error::Error,
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Commands {
    pub(super) content_bytes_max: usize,
    pub(super) client_commands: ClientCommands,
    pub(super) business: Arc<Business>,
    pub(super) under_way: UnderWay,
}

impl Commands {
    /// Asks the business about a packet.
    pub async fn handle(&self, caller: Caller, command: i32, content: Bytes, request_id: &str) -> Result<Reply, Error> {
        if !self.client_commands.contain(command) {
            return Err(Error::refused(ResultCode::NotAllowed, format!("command: {command} is not for clients")));
        }
        check::size("content", &content, self.content_bytes_max)?;
        let Some(_place) = self.under_way.enter(caller.user_id) else {
            let message = "as many of your commands as may be under way are not answered yet";
            return Err(Error::refused(ResultCode::TooManyRequests, message));
        };
        let request = HandleCommandRequest { user_id: caller.user_id, device_id: caller.device_id, command, content };
        let reply = self.business.handle_command(request, request_id).await?;
        Ok(Reply { code: reply.code, message: reply.message, data: reply.data })
    }
}

/// How many commands of each user are under way: an entry for each who has any.
#[derive(Debug)]
pub(super) struct UnderWay {
    per_user_max: usize,
    counts: Mutex<HashMap<u64, usize>>,
}

/// One command under way, until it is dropped.
struct CommandPlace<'a> {
    under_way: &'a UnderWay,
    user_id: u64,
}

impl UnderWay {
    pub(super) fn new(per_user_max: usize) -> Self {
        Self { per_user_max, counts: Mutex::default() }
    }

    /// A place for one more command of a user, unless that is too much.
    fn enter(&self, user_id: u64) -> Option<CommandPlace<'_>> {
        let mut counts = self.lock();
        let count = counts.entry(user_id).or_default();
        if *count >= self.per_user_max {
            return None;
        }
        *count += 1;
        Some(CommandPlace { under_way: self, user_id })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CommandPlace<'_> {
    fn drop(&mut self) {
        let mut counts = self.under_way.lock();
        if let Some(count) = counts.get_mut(&self.user_id) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.user_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_places_and_nobody_is_remembered_who_has_none() {
        let under_way = UnderWay::new(2);
        let (first, second) = (under_way.enter(7), under_way.enter(7));
        assert!(second.is_some() && under_way.enter(7).is_none());
        let other = under_way.enter(8);
        drop(first);
        assert!(other.is_some() && under_way.enter(7).is_some());
        drop((second, other));
        assert!(under_way.lock().is_empty());
    }
}
