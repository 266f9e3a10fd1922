//! Who does not want to hear of a user: the business is asked about many at once.

use std::time::Instant;

use gim_proto::business::GetBlockersRequest;
use tonic::Code;

use super::{Business, BusinessError, failure, request};

/// Users asked about in one call: the members of a normal group.
const USERS_PER_CALL_MAX: usize = 500;

impl Business {
    /// Those of these users who blocked another one. A business without GetBlockers knows of nobody.
    pub async fn blockers_among(
        &self,
        user_id: u64,
        user_ids: &[u64],
        request_id: &str,
    ) -> Result<Vec<u64>, BusinessError> {
        let others: Vec<u64> = user_ids.iter().copied().filter(|&other_id| other_id != user_id).collect();
        let mut blockers = Vec::new();
        let Some(clients) = self.clients.as_ref().filter(|_| self.asks_may_write) else { return Ok(blockers) };
        for asked in others.chunks(USERS_PER_CALL_MAX) {
            if self.no_blockers.get(&(), Instant::now()).is_some() {
                break;
            }
            let question = request(GetBlockersRequest { user_id, among_user_ids: asked.to_vec() }, request_id);
            match self.ask(&self.calls_in_flight, None, clients.users.clone().get_blockers(question)).await {
                Ok(reply) => blockers.extend(reply.user_ids),
                Err(status) if status.code() == Code::Unimplemented => {
                    self.no_blockers.put((), (), Instant::now());
                }
                Err(status) => return Err(failure("GetBlockers", status)),
            }
        }
        Ok(blockers)
    }
}
