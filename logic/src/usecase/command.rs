//! Packets with commands of the business: handed through, answer included.

use bytes::Bytes;
use gim_proto::{business::HandleCommandRequest, check, connect::Reply};

use super::{App, Caller};
use crate::error::Error;

/// Commands from here on belong to the business.
pub const BUSINESS_COMMAND_MIN: i32 = 1000;

impl App {
    /// Asks the business about a packet.
    pub async fn handle_command(
        &self,
        caller: Caller,
        command: i32,
        content: Bytes,
        request_id: &str,
    ) -> Result<Reply, Error> {
        check::size("content", &content, self.limits.content_bytes_max)?;
        let request = HandleCommandRequest { user_id: caller.user_id, device_id: caller.device_id, command, content };
        let reply = self.business.handle_command(request, request_id).await?;
        Ok(Reply { code: reply.code, message: reply.message, data: reply.data })
    }
}
