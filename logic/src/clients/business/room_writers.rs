//! May a user write into a room: who is there says nothing about that, so the business is asked, if it has an opinion.

use gim_proto::business::MayWriteToRoomRequest;

use super::{Business, BusinessError, Clients, permissions::Permission, request};

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
        let ask = async |clients: &Clients| {
            let question = request(MayWriteToRoomRequest { user_id, room_id }, request_id);
            let mut users = clients.users.clone();
            self.ask(&self.calls_in_flight, Some(&self.room_writers.breaker), users.may_write_to_room(question)).await
        };
        match self.remembered(&self.room_writers, (user_id, room_id), ask).await? {
            Permission::Denied(code, message) => Err(BusinessError::of_business(code, &message)),
            Permission::Given | Permission::NotOffered => Ok(()),
        }
    }
}
