//! What devices are told of as it happens, and is stored as no message: what another device of their user did, how far others have read.
//! A device that is not there asks when it comes back.

use std::sync::Arc;

use crate::{
    delivery::fanout::Fanout,
    domain::{
        caller::Caller,
        message::{Delivery, Message, Receiver},
        message_id::MessageIds,
    },
};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct DeviceNews {
    pub ids: Arc<MessageIds>,
    pub fanout: Fanout,
}

impl DeviceNews {
    /// Tells the devices of these users, but not the one that caused it.
    pub async fn tell(&self, cause: Caller, user_ids: Vec<u64>, command: i32, content: &impl prost::Message) {
        let (id, created_at_ms) = self.ids.next_with_time();
        let message = Message {
            id,
            command,
            content: content.encode_to_vec().into(),
            sender_id: 0,
            created_at_ms,
            status: 0,
            group_id: 0,
        };
        let delivery = Delivery {
            message,
            receivers: user_ids.into_iter().map(|user_id| Receiver { user_id, seq: 0 }).collect(),
            caused_by: cause.user_id,
            origin_device_id: cause.device_id,
            request_id: "".into(),
            group: None,
        };
        if let Err(error) = self.fanout.deliver(&[delivery]).await {
            tracing::debug!(%error, command, "devices were not told");
        }
    }
}
