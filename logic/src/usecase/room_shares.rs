//! What each user may have rooms retain, and ask for of what they retain. Any task; the time is passed in.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gim_config::rations::Rations;
use gim_proto::ResultCode;
use metrics::counter;

use crate::{error::Error, metrics as names, settings::RoomSettings};

/// What a retained message costs besides its content.
const MESSAGE_BYTES: usize = 1024;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct RoomShares {
    clients_retain: bool,
    retained: Mutex<Rations>,
    replayed: Mutex<Rations>,
}

impl RoomShares {
    pub(super) fn new(settings: &RoomSettings) -> Self {
        let (retained_for, refill) = (settings.retained_ms, settings.user_replay_refill_ms);
        Self {
            clients_retain: settings.clients_retain,
            retained: rations(settings.user_retained_bytes_max, retained_for),
            replayed: rations(settings.user_replay_bytes_max, refill),
        }
    }

    /// Whether a message of a client may be retained, which counts from now on; an error where its user has had his share.
    pub(super) fn may_retain(&self, user_id: u64, bytes: usize, now: Instant) -> Result<bool, Error> {
        if !self.clients_retain {
            return Ok(false);
        }
        let mut retained = lock(&self.retained);
        if !retained.has_left(user_id, now) {
            return Err(used("retain", "too many of the user's messages are retained in rooms"));
        }
        retained.take(user_id, (bytes + MESSAGE_BYTES) as u64, now);
        Ok(true)
    }

    /// An error where a user has had his share of retained messages.
    pub(super) fn may_replay(&self, user_id: u64, now: Instant) -> Result<(), Error> {
        if lock(&self.replayed).has_left(user_id, now) {
            return Ok(());
        }
        Err(used("replay", "too many retained messages were asked for: subscribe without a seq, or later"))
    }

    /// A user got so many bytes of retained messages.
    pub(super) fn replayed(&self, user_id: u64, bytes: usize, now: Instant) {
        lock(&self.replayed).take(user_id, bytes as u64, now);
    }
}

fn rations(bytes: usize, refill_ms: u64) -> Mutex<Rations> {
    Mutex::new(Rations::new(bytes as u64, Duration::from_millis(refill_ms)))
}

fn used(asked: &'static str, reason: &str) -> Error {
    counter!(names::ROOM_SHARES_USED, "asked" => asked).increment(1);
    Error::refused(ResultCode::TooManyRequests, reason)
}

fn lock(rations: &Mutex<Rations>) -> MutexGuard<'_, Rations> {
    rations.lock().unwrap_or_else(PoisonError::into_inner)
}
