//! What the business said, and does not hold any more. Any task.

use std::{sync::atomic::Ordering, time::Instant};

use super::Business;
use crate::domain::out_of_date::OutOfDate;

impl Business {
    /// Asks anew about this from now on. An answer that is on its way meanwhile is not kept.
    pub fn forget(&self, what: OutOfDate) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        match what {
            OutOfDate::Everything => self.doubt_everything(),
            OutOfDate::Card(user_id) => self.cards.forget(&user_id),
            OutOfDate::Pair(one, other) => {
                self.may_write.forget(&(one, other));
                self.may_write.forget(&(other, one));
            }
            OutOfDate::RoomWriter { user_id, room_id } => {
                self.room_writers.forget_where(|key| key.1 == room_id && (user_id == 0 || key.0 == user_id));
            }
            OutOfDate::Tokens { user_id, device_id } => self.good_tokens.forget_where(|(caller, _)| {
                caller.user_id == user_id && (device_id == 0 || caller.device_id == device_id)
            }),
        }
    }

    /// What is kept for while the business is away stays: nobody could be asked then.
    fn doubt_everything(&self) {
        let now = Instant::now();
        self.good_tokens.doubt(now);
        self.cards.doubt(now);
        self.may_write.doubt(now);
        self.room_writers.doubt(now);
    }
}
