//! What each user may have rooms retain, and ask for of what they retain. Any task; the time is passed in.

use std::{
    hash::BuildHasher as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foldhash::quality::RandomState;
use gim_config::rations::Rations;
use metrics::counter;

use crate::{error::Error, metrics as names, settings::RoomSettings};

/// What a retained message costs besides its content.
const MESSAGE_BYTES: usize = 1024;

/// Of what a room may keep, the part that one user has at once; it comes back while the room's messages are kept, so that a quarter
/// of a room at most is one user's.
const ROOM_SHARE: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct RoomShares {
    clients_retain: bool,
    retained: Mutex<Rations>,
    /// By user and room.
    retained_in_room: Mutex<Rations>,
    pairs: RandomState,
    /// What a message takes of a room at least.
    room_message_bytes: usize,
    replayed: Mutex<Rations>,
}

impl RoomShares {
    pub(super) fn new(settings: &RoomSettings) -> Self {
        let (retained_for, refill) = (settings.retained_ms, settings.user_replay_refill_ms);
        Self {
            clients_retain: settings.clients_retain,
            retained: rations(settings.user_retained_bytes_max, retained_for),
            retained_in_room: rations(settings.retained_bytes_max / ROOM_SHARE, retained_for),
            pairs: RandomState::default(),
            room_message_bytes: settings.retained_bytes_max / settings.retained_count_max.max(1),
            replayed: rations(settings.user_replay_bytes_max, refill),
        }
    }

    /// Whether a message of a client may be retained, which counts from now on; an error where its user has had his share.
    pub(super) fn may_retain(&self, user_id: u64, room_id: u64, bytes: usize, now: Instant) -> Result<bool, Error> {
        if !self.clients_retain {
            return Ok(false);
        }
        let mut retained = lock(&self.retained);
        if !retained.has_left(user_id, now) {
            let wait = retained.wait_for(user_id, (bytes + MESSAGE_BYTES) as u64, now);
            return Err(used("retain", "too many of the user's messages are retained in rooms", wait));
        }
        let (pair, mut in_room) = (self.pairs.hash_one((user_id, room_id)), lock(&self.retained_in_room));
        let in_room_bytes = bytes.max(self.room_message_bytes) as u64;
        if !in_room.has_left(pair, now) {
            let wait = in_room.wait_for(pair, in_room_bytes, now);
            return Err(used("retain", "too many of the user's messages are retained in this room", wait));
        }
        in_room.take(pair, in_room_bytes, now);
        retained.take(user_id, (bytes + MESSAGE_BYTES) as u64, now);
        Ok(true)
    }

    /// An error where a user has had his share of retained messages.
    pub(super) fn may_replay(&self, user_id: u64, now: Instant) -> Result<(), Error> {
        let replayed = lock(&self.replayed);
        if replayed.has_left(user_id, now) {
            return Ok(());
        }
        let problem = "too many retained messages were asked for: subscribe without a seq, or later";
        Err(used("replay", problem, replayed.wait_for(user_id, 1, now)))
    }

    /// A user got so many bytes of retained messages.
    pub(super) fn replayed(&self, user_id: u64, bytes: usize, now: Instant) {
        lock(&self.replayed).take(user_id, bytes as u64, now);
    }
}

fn rations(bytes: usize, refill_ms: u64) -> Mutex<Rations> {
    Mutex::new(Rations::new(bytes as u64, Duration::from_millis(refill_ms)))
}

fn used(asked: &'static str, reason: &str, wait: Duration) -> Error {
    counter!(names::ROOM_SHARES_USED, "asked" => asked).increment(1);
    Error::later(reason, wait)
}

fn lock(rations: &Mutex<Rations>) -> MutexGuard<'_, Rations> {
    rations.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_part_of_a_room_and_as_much_of_another_one() {
        let settings = RoomSettings { clients_retain: true, ..RoomSettings::default() };
        let (shares, start) = (RoomShares::new(&settings), Instant::now());
        let retained = |user_id, room_id, now| {
            (0..1_000).take_while(|_| shares.may_retain(user_id, room_id, 10, now).is_ok()).count()
        };
        let at_once = retained(7, 1, start);
        assert_eq!(at_once, settings.retained_count_max.div_ceil(ROOM_SHARE));
        assert_eq!([retained(7, 2, start), retained(8, 1, start)], [at_once; 2]);
        let end = start + Duration::from_millis(settings.retained_ms);
        let later: usize = (1..=10).map(|tenth| retained(7, 1, start + (end - start) * tenth / 10)).sum();
        assert!(at_once + later <= settings.retained_count_max / 4 + 2, "{at_once} and {later}");
    }
}
