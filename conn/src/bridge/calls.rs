//! `connect.ConnectIntService`: pushes to devices of this node by services that are no logic of ours.

use std::collections::HashMap;

use gim_proto::{
    check,
    connect::{
        Message, PacketCommand, PushToDevicesRequest,
        connect_int_service_server::{ConnectIntService, ConnectIntServiceServer},
    },
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::reactors::Reactors;
use crate::{
    reactor::command_queue::{Command, ENTRIES_MAX},
    wire::{encoded::Encoded, packet},
};

/// Most pushes in one call.
const PUSHES_MAX: usize = 10_000;

/// The service. It only hands over; whether a device is here shows in its reactor.
#[derive(Debug)]
pub struct PushCalls {
    apps: HashMap<u32, Reactors>,
    frame_bytes_max: usize,
}

impl PushCalls {
    /// The service over these apps' reactors; a message that would not fit a frame is refused.
    pub fn server(apps: HashMap<u32, Reactors>, frame_bytes_max: usize) -> ConnectIntServiceServer<Self> {
        ConnectIntServiceServer::new(Self { apps, frame_bytes_max })
    }

    fn encode(&self, index: usize, device_id: u64, message: Option<Message>) -> Result<(u64, Encoded), Status> {
        let field = |name: &str| format!("device_messages[{index}].{name}");
        check::id(&field("device_id"), device_id)?;
        let message = message.ok_or_else(|| check::invalid(&field("message"), "must be set"))?;
        let content = message.encode_to_vec();
        check::size(&field("message"), &content, self.frame_bytes_max)?;
        Ok((device_id, packet::notice(PacketCommand::PcMessage, &content, 0)))
    }
}

#[tonic::async_trait]
impl ConnectIntService for PushCalls {
    async fn push_to_devices(&self, request: Request<PushToDevicesRequest>) -> Result<Response<()>, Status> {
        let PushToDevicesRequest { device_messages: messages, app_id } = request.into_inner();
        let reactors = self.apps.get(&app_id).ok_or_else(|| check::invalid("app_id", "names no app of this node"))?;
        if messages.is_empty() || messages.len() > PUSHES_MAX {
            let problem = format!("must have between 1 and {PUSHES_MAX} entries");
            return Err(check::invalid("device_messages", problem).into());
        }
        let pushes = messages.into_iter().enumerate();
        let pushes = pushes.map(|(index, push)| self.encode(index, push.device_id, push.message));
        let pushes = pushes.collect::<Result<Vec<_>, Status>>()?;
        for some in pushes.chunks(ENTRIES_MAX) {
            reactors.send_all(|| Command::PushToDevices(some.to_vec())).await;
        }
        Ok(Response::new(()))
    }
}
