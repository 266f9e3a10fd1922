//! May a user write into a room: who is there says nothing about that, so the business is asked, if it has an opinion.

use std::{sync::atomic::Ordering, time::Instant};

use gim_proto::business::MayWriteToRoomRequest;
use tonic::Code;

use super::{Business, BusinessError, Permission, failure, request, to_permission};

/// In place of a user and a room in the cache: all of them.
const EVERYBODY: (u64, u64) = (0, 0);

impl Business {
    /// Fails where a user may not write into a room. A business without MayWriteToRoom lets everybody write everywhere.
    pub async fn check_may_write_to_room(
        &self,
        user_id: u64,
        room_id: u64,
        request_id: &str,
    ) -> Result<(), BusinessError> {
        if !self.asks_may_write {
            return Ok(());
        }
        let (key, now) = ((user_id, room_id), Instant::now());
        let known = self.room_writers.get(&key, now).or_else(|| self.room_writers.get(&EVERYBODY, now));
        let permission = match known {
            Some(permission) => permission,
            None => Box::pin(self.ask_about_room(key, now, request_id)).await?,
        };
        match permission {
            Permission::Denied(code, message) => Err(BusinessError::of_business(code, &message)),
            Permission::Given | Permission::NotOffered => Ok(()),
        }
    }

    /// What was answered about a user (0 for all) and a room is out of date.
    pub fn forget_room(&self, user_id: u64, room_id: u64) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        self.room_writers.forget_where(|key| key.1 == room_id && (user_id == 0 || key.0 == user_id));
    }

    async fn ask_about_room(
        &self,
        key: (u64, u64),
        now: Instant,
        request_id: &str,
    ) -> Result<Permission, BusinessError> {
        let Some(clients) = &self.clients else { return Ok(Permission::NotOffered) };
        let forgotten = self.forgotten.load(Ordering::Acquire);
        let question = request(MayWriteToRoomRequest { user_id: key.0, room_id: key.1 }, request_id);
        let answer = self.ask(&self.calls_in_flight, clients.users.clone().may_write_to_room(question)).await;
        let permission = match answer {
            Ok(reply) => to_permission(reply),
            Err(status) if status.code() == Code::Unimplemented => {
                self.room_writers.put(EVERYBODY, Permission::NotOffered, now);
                return Ok(Permission::NotOffered);
            }
            Err(status) => return Err(failure("MayWriteToRoom", status)),
        };
        if self.forgotten.load(Ordering::Acquire) == forgotten && permission.is_lasting() {
            self.room_writers.put(key, permission.clone(), now);
        }
        Ok(permission)
    }
}
