//! Packets with commands of the business: handed through, answer included.
//!
//! Always holds: of one user, on whichever connections and nodes of conn, no more are under way than the settings allow, so that
//! the places at the business are not all one user's.

use std::sync::Arc;

use bytes::Bytes;
use gim_proto::{ResultCode, business::HandleCommandRequest, check, connect::Reply};

use super::under_way::UnderWay;
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
    pub(super) under_way: Arc<UnderWay>,
}

impl Commands {
    /// Asks the business about a packet.
    pub async fn handle(&self, caller: Caller, command: i32, content: Bytes, request_id: &str) -> Result<Reply, Error> {
        if !self.client_commands.contain(command) {
            return Err(Error::refused(ResultCode::NotAllowed, format!("command: {command} is not for clients")));
        }
        check::size("content", &content, self.content_bytes_max)?;
        let Some(_place) = self.under_way.enter(caller.user_id) else {
            let message = "as many of your commands as may be under way are not answered yet";
            return Err(Error::refused(ResultCode::TooManyRequests, message));
        };
        let request = HandleCommandRequest { user_id: caller.user_id, device_id: caller.device_id, command, content };
        let reply = self.business.handle_command(request, request_id).await?;
        Ok(Reply { code: reply.code, message: reply.message, data: reply.data })
    }
}
