//! Packets with commands of the business: handed through, answer included.

use std::sync::Arc;

use bytes::Bytes;
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
}

impl Commands {
    /// Asks the business about a packet.
    pub async fn handle(&self, caller: Caller, command: i32, content: Bytes, request_id: &str) -> Result<Reply, Error> {
        if !self.client_commands.contain(command) {
            return Err(Error::refused(ResultCode::NotAllowed, format!("command: {command} is not for clients")));
        }
        check::size("content", &content, self.content_bytes_max)?;
        let request = HandleCommandRequest { user_id: caller.user_id, device_id: caller.device_id, command, content };
        let reply = self.business.handle_command(request, request_id).await?;
        Ok(Reply { code: reply.code, message: reply.message, data: reply.data })
    }
}
