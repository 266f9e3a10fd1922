//! What the business said, and does not hold any more. Any task.
//!
//! Always holds: however many notices come at once, each cache is looked through at most once.

use std::{sync::atomic::Ordering, time::Instant};

use foldhash::HashSet;
use tokio::task::yield_now;

use super::Business;
use crate::domain::out_of_date::OutOfDate;

impl Business {
    /// Asks anew about these from now on. Answers that are on their way meanwhile are not kept.
    pub async fn forget(&self, notices: &[OutOfDate]) {
        if notices.is_empty() {
            return;
        }
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        // Notices that name only a part of a key: of whom (0 for all) in a room, and of whom on a device (0 for all).
        let (mut room_writers, mut tokens) = (HashSet::default(), HashSet::default());
        for &notice in notices {
            match notice {
                OutOfDate::Everything => self.doubt_everything(),
                OutOfDate::Card(user_id) => self.cards.forget(&user_id),
                OutOfDate::Pair(one, other) => {
                    self.may_write.answers.forget(&(one, other));
                    self.may_write.answers.forget(&(other, one));
                }
                OutOfDate::RoomWriter { user_id, room_id } => drop(room_writers.insert((user_id, room_id))),
                OutOfDate::Tokens { user_id, device_id } => drop(tokens.insert((user_id, device_id))),
            }
        }
        if !room_writers.is_empty() {
            yield_now().await;
            let is_over = |user_id, room_id| room_writers.contains(&(user_id, room_id));
            self.room_writers
                .answers
                .forget_where(|&(user_id, room_id)| is_over(user_id, room_id) || is_over(0, room_id));
        }
        if !tokens.is_empty() {
            yield_now().await;
            let is_over = |user_id, device_id| tokens.contains(&(user_id, device_id));
            self.good_tokens
                .forget_where(|(caller, _)| is_over(caller.user_id, caller.device_id) || is_over(caller.user_id, 0));
        }
    }

    /// What is kept for while the business is away stays: nobody could be asked then.
    fn doubt_everything(&self) {
        let now = Instant::now();
        self.good_tokens.doubt(now);
        self.cards.doubt(now);
        self.may_write.answers.doubt(now);
        self.room_writers.answers.doubt(now);
    }
}
