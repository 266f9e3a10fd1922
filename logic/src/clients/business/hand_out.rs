//! Pushes for devices that are away, handed to a business that wakes them itself.

use gim_proto::business::{HandOutRequest, OfflinePush};
use tonic::Code;

use super::{Business, BusinessError, failure, request};

/// What the business said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandOutAnswer {
    /// It has them. These ids are of pushes whose push id reaches nobody.
    Taken(Vec<String>),
    /// It wakes nobody.
    NotOffered,
}

impl Business {
    /// Hands pushes over, all of them or none.
    pub async fn hand_out(&self, pushes: &[OfflinePush]) -> Result<HandOutAnswer, BusinessError> {
        let Some(clients) = &self.clients else { return Ok(HandOutAnswer::NotOffered) };
        let request = request(HandOutRequest { pushes: pushes.to_vec() }, "");
        match self.ask(&self.calls_in_flight, None, clients.pushes.clone().hand_out(request)).await {
            Ok(reply) => Ok(HandOutAnswer::Taken(reply.unregistered_ids)),
            Err(status) if status.code() == Code::Unimplemented => Ok(HandOutAnswer::NotOffered),
            Err(status) => Err(failure("HandOut", status)),
        }
    }
}
