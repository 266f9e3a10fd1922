//! `connect.ConnectIntService`: pushes to devices of this node by services that are no logic of ours.

use std::collections::{BTreeSet, HashMap};

use gim_proto::{
    ResultCode, check,
    connect::{
        Message, PacketCommand, PushToDevicesRequest,
        connect_int_service_server::{ConnectIntService, ConnectIntServiceServer},
    },
};
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::reactors::Reactors;
use crate::{
    reactor::command_queue::{Command, ENTRIES_MAX, TellFound},
    wire::{encoded::Encoded, packet},
};

/// Most pushes in one call.
const PUSHES_MAX: usize = 10_000;

/// The service. It hands over; whether a device is here shows in its reactor, which tells.
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
        let mut absent: BTreeSet<u64> = pushes.iter().map(|(device_id, _)| *device_id).collect();
        for some in pushes.chunks(ENTRIES_MAX) {
            for device_id in push_some(reactors, some).await {
                absent.remove(&device_id);
            }
        }
        match absent.first() {
            None => Ok(Response::new(())),
            Some(device_id) => {
                let sentence = format!("device {device_id} is not connected here; those that are have their messages");
                Err(ResultCode::ConnectionNotFound.status(sentence))
            }
        }
    }
}

/// Has all reactors push to those devices that they have; which these are.
async fn push_some(reactors: &Reactors, pushes: &[(u64, Encoded)]) -> Vec<u64> {
    let (teller, mut told) = mpsc::channel(reactors.count().max(1));
    let command = || {
        let teller = teller.clone();
        // Whoever asked may have hung up.
        let tell_found = TellFound::new(move |found| drop(teller.try_send(found)));
        Command::PushToDevices { pushes: pushes.to_vec(), tell_found }
    };
    reactors.send_all(command).await;
    drop(teller);
    let mut found = Vec::new();
    // A reactor that ended says nothing, and its end of the channel is gone.
    while let Some(some) = told.recv().await {
        found.extend(some);
    }
    found
}
