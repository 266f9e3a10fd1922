//! A device of a user: its long connection and everything that came over it.

use std::time::Instant;

use anyhow::{Context as _, bail};
use gim_proto::{
    CloseReason,
    business::SignInReply,
    client::{Client, ClientError},
    connect::{Message, Packet, PacketCommand, Reply, SendReply, SendRequest, SubscribeRoomRequest},
    logic::{MessageAckRequest, SyncReply, SyncRequest},
};
use prost::Message as _;

use crate::{swarm::DEADLINE, target::Target};

/// One signed-in device.
pub struct Device {
    name: &'static str,
    identity: SignInReply,
    client: Client,
    /// The newest seq of its user's inbox when it came.
    before: u64,
    /// Every message that arrived, in order of arrival.
    arrived: Vec<Message>,
    /// Inbox seqs of what this device sent; the server does not push them back here.
    sent_seqs: Vec<u64>,
}

impl Device {
    /// Opens a long connection and signs in on it.
    pub fn sign_in(target: &Target, name: &'static str, identity: SignInReply) -> anyhow::Result<Self> {
        let mut client = connect(target, name, &identity)?;
        let before = client.heartbeat()?;
        Ok(Self { name, identity, client, before, arrived: Vec::new(), sent_seqs: Vec::new() })
    }

    /// Signs the same device in once more.
    pub fn sign_in_again(&self, target: &Target) -> anyhow::Result<Self> {
        Self::sign_in(target, self.name, self.identity.clone())
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn user_id(&self) -> u64 {
        self.identity.user_id
    }

    pub fn device_id(&self) -> u64 {
        self.identity.device_id
    }

    pub fn token(&self) -> &str {
        &self.identity.token
    }

    pub fn before(&self) -> u64 {
        self.before
    }

    pub fn arrived(&self) -> &[Message] {
        &self.arrived
    }

    pub fn sent_seqs(&self) -> &[u64] {
        &self.sent_seqs
    }

    /// Drops the connection without a word, as a phone in a tunnel does.
    pub fn disconnect(&mut self) -> anyhow::Result<()> {
        self.client.stream().shutdown(std::net::Shutdown::Both).context("cannot disconnect")
    }

    /// Comes back over a new connection.
    pub fn reconnect(&mut self, target: &Target) -> anyhow::Result<()> {
        self.client = connect(target, self.name, &self.identity)?;
        Ok(())
    }

    /// The newest inbox seq of the user, as the server tells it.
    pub fn heartbeat(&mut self) -> anyhow::Result<u64> {
        Ok(self.client.heartbeat()?)
    }

    /// Enters a room (0 leaves); retained messages after `seq` come first.
    pub fn subscribe(&mut self, room_id: u64, seq: u64) -> anyhow::Result<i32> {
        let content = SubscribeRoomRequest { room_id, seq, from_start: false }.encode_to_vec();
        Ok(self.client.request(PacketCommand::PcSubscribeRoom as i32, content)?.code)
    }

    /// Sends over the long connection.
    pub fn send(&mut self, request: &SendRequest) -> anyhow::Result<SendReply> {
        let reply = self.client.request(PacketCommand::PcSend as i32, request.encode_to_vec())?;
        self.sent(reply)
    }

    /// The reason with which the server closes the connection within the deadline; none where it does not.
    pub fn wait_for_close(&mut self) -> anyhow::Result<Option<CloseReason>> {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            match self.client.receive() {
                Ok(packet) => drop(self.keep(packet)?),
                Err(ClientError::Closed(notice)) => return Ok(notice.map(|notice| notice.reason())),
                Err(ClientError::Timeout(_)) => break,
                Err(error) => return Err(error).with_context(|| format!("connection of {}", self.name)),
            }
        }
        Ok(None)
    }

    /// Sends all at once, and only then reads the replies.
    pub fn send_burst(&mut self, requests: &[SendRequest]) -> anyhow::Result<Vec<SendReply>> {
        let command = PacketCommand::PcSend as i32;
        for (number, request) in requests.iter().enumerate() {
            let request_id = format!("burst-{number}");
            self.client.send(&Packet { request_id, command, content: request.encode_to_vec().into(), seq: 0 })?;
        }
        let mut replies = Vec::new();
        while replies.len() < requests.len() {
            let packet = self.client.receive()?;
            if packet.command == command {
                replies.push(self.sent(Reply::decode(packet.content)?)?);
            } else {
                self.keep(packet)?;
            }
        }
        Ok(replies)
    }

    /// A page of the inbox after `seq`.
    pub fn sync(&mut self, seq: u64) -> anyhow::Result<SyncReply> {
        let reply = self
            .client
            .request(PacketCommand::PcSync as i32, SyncRequest { seq, ..SyncRequest::default() }.encode_to_vec())?;
        Ok(SyncReply::decode(accepted(reply)?)?)
    }

    /// Tells that everything up to `seq` was taken over.
    pub fn acknowledge(&mut self, seq: u64) -> anyhow::Result<()> {
        let content = MessageAckRequest { device_ack: seq, group_acks: Vec::new() }.encode_to_vec();
        accepted(self.client.request(PacketCommand::PcMessageAck as i32, content)?).map(drop)
    }

    /// The message that was arrived or arrives within the deadline; none where it does not.
    pub fn wait_for(&mut self, is_wanted: impl Fn(&Message) -> bool) -> anyhow::Result<Option<Message>> {
        if let Some(message) = self.arrived.iter().find(|message| is_wanted(message)) {
            return Ok(Some(message.clone()));
        }
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            let packet = match self.client.receive() {
                Ok(packet) => packet,
                Err(ClientError::Timeout(_)) => break,
                Err(error) => return Err(error).with_context(|| format!("connection of {}", self.name)),
            };
            if let Some(message) = self.keep(packet)?
                && is_wanted(&message)
            {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// As [`Device::wait_for`], by content.
    pub fn wait_for_content(&mut self, content: &str) -> anyhow::Result<Option<Message>> {
        self.wait_for(|message| message.content == content.as_bytes())
    }

    /// As [`Device::wait_for`], by message id.
    pub fn wait_for_id(&mut self, message_id: u64) -> anyhow::Result<Option<Message>> {
        self.wait_for(|message| message.message_id == message_id)
    }

    /// Takes over what came by sync.
    pub fn take_over(&mut self, messages: Vec<Message>) {
        self.arrived.extend(messages);
    }

    fn sent(&mut self, reply: Reply) -> anyhow::Result<SendReply> {
        let reply = SendReply::decode(accepted(reply)?)?;
        if reply.seq != 0 && !reply.duplicate {
            self.sent_seqs.push(reply.seq);
        }
        Ok(reply)
    }

    fn keep(&mut self, packet: Packet) -> anyhow::Result<Option<Message>> {
        if packet.command != PacketCommand::PcMessage as i32 {
            return Ok(None);
        }
        let message = Message::decode(packet.content)?;
        self.arrived.push(message.clone());
        Ok(Some(message))
    }
}

fn connect(target: &Target, name: &str, identity: &SignInReply) -> anyhow::Result<Client> {
    let mut client = target.connect()?;
    let reply = client.sign_in(identity.user_id, identity.device_id, &identity.token)?;
    accepted(reply).with_context(|| format!("sign-in of {name}"))?;
    Ok(client)
}

fn accepted(reply: Reply) -> anyhow::Result<bytes::Bytes> {
    match reply.code {
        0 => Ok(reply.data),
        code => bail!("the server answered with code {code}: {}", reply.message),
    }
}
