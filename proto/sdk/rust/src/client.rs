//! What an app uses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use gim_proto::{
    connect::{CallRequest, PacketCommand},
    typed_content::{self, TypedContent},
};
use prost::Message as _;
use rand::RngExt as _;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    core::{AppRequest, Event, PendingSend, State},
    engine::{self, Command},
    error::{GimError, OptionsError},
    options::Options,
    wire::Target,
};

/// Commands that wait for the client's task, and events that wait for the app, beside those in the client's own queue.
const COMMANDS_MAX: usize = 256;
const EVENTS_MAX: usize = 64;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// What the names of methods begin with that only read.
const READS: [&str; 5] = ["Get", "List", "History", "Search", "Count"];

/// A handle of a client, as many as are wanted. The client itself lives as long as its [`Events`].
#[derive(Debug, Clone)]
pub struct Client {
    user_id: u64,
    device_id: u64,
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<State>,
    next_id: Arc<AtomicU64>,
    request_options: RequestOptions,
}

/// What happens by itself, in order. While nobody takes it, messages are left with the server, and come later. Dropped, it ends the client.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Event>,
}

/// How requests are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestOptions {
    /// When one has failed.
    pub timeout: Duration,
    /// Whether one may be sent again where nobody knows if it was done; none for: reads may.
    pub is_repeatable: Option<bool>,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self { timeout: REQUEST_TIMEOUT, is_repeatable: None }
    }
}

/// How a message is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// The kind of message, from 1000 on your own; 0 for a plain one.
    pub command: i32,
    /// By which the server recognises it, however often it is sent; empty for a new one.
    pub client_msg_id: String,
}

impl Events {
    /// The next one. None once the client is gone, which it is before that only with its runtime.
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }
}

impl Client {
    /// A client in a task of the present runtime, which waits for [`Client::start`].
    pub fn new(mut options: Options) -> Result<(Self, Events), OptionsError> {
        let is_id = |id: u64| id > 0 && i64::try_from(id).is_ok();
        if !is_id(options.user_id) || !is_id(options.device_id) {
            return Err(OptionsError::Id);
        }
        if options.way.is_none() {
            return Err(OptionsError::Way);
        }
        let token_provider = options.token_provider.take().ok_or(OptionsError::Token)?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| OptionsError::Runtime)?;
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let (state, state_receiver) = watch::channel(State::Idle);
        let client = Self {
            user_id: options.user_id,
            device_id: options.device_id,
            commands,
            state: state_receiver,
            next_id: Arc::new(AtomicU64::new(1)),
            request_options: RequestOptions::default(),
        };
        runtime.spawn(engine::run(options, token_provider, receiver, sender, state));
        Ok((client, Events { receiver: events }))
    }

    /// Who signs in.
    pub fn user_id(&self) -> u64 {
        self.user_id
    }

    /// On which device.
    pub fn device_id(&self) -> u64 {
        self.device_id
    }

    /// What the client is at.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// The same client, whose requests are asked so.
    #[must_use]
    pub fn with_options(&self, request_options: RequestOptions) -> Self {
        Self { request_options, ..self.clone() }
    }

    /// Connects, and stays connected until [`Client::stop`], or until the server sends the client away.
    pub async fn start(&self) {
        self.command(Command::Start).await;
    }

    /// Disconnects, and ends everything that waits. What is not sent yet stays in the store, and goes out after the next start.
    pub async fn stop(&self) {
        self.command(Command::Stop).await;
    }

    /// The network came back: connects at once, or asks whether the connection is alive.
    pub async fn nudge(&self) {
        self.command(Command::Nudge).await;
    }

    /// Sends a message. It is repeated until it is answered, whatever happens to the connection: [`Event::Sent`] or [`Event::Failed`] says how
    /// it ended, and with a store that may be in a later run. Returns its `client_msg_id`, by which these events name it.
    pub async fn send(&self, target: Target, content: impl Into<Bytes>) -> Result<String, GimError> {
        self.send_with(target, content, SendOptions::default()).await
    }

    /// As [`Client::send`], with a command or an id of the app's own.
    pub async fn send_with(
        &self,
        target: Target,
        content: impl Into<Bytes>,
        options: SendOptions,
    ) -> Result<String, GimError> {
        let SendOptions { command, client_msg_id } = options;
        let client_msg_id = if client_msg_id.is_empty() { random_id() } else { client_msg_id };
        let send = PendingSend {
            client_msg_id: client_msg_id.clone(),
            target,
            command,
            content: content.into(),
            created_at_ms: 0,
        };
        let (taken, is_taken) = oneshot::channel();
        self.command(Command::Send(send, taken)).await;
        is_taken.await.unwrap_or_else(|_| Err(GimError::stopped()))?;
        Ok(client_msg_id)
    }

    /// As [`Client::send`], with one of the contents that every chat needs. One that the server would refuse is refused here, and
    /// nothing is sent.
    pub async fn send_content(&self, target: Target, content: impl Into<TypedContent>) -> Result<String, GimError> {
        let content = content.into();
        let (command, bytes) = (content.command() as i32, content.encode());
        if let Err(problem) = typed_content::check(command, &bytes) {
            return Err(GimError::new(problem.code.number(), &problem.to_string()));
        }
        self.send_with(target, bytes, SendOptions { command, ..SendOptions::default() }).await
    }

    /// Enters a room, with all that it retains if `from_start`. A room is for one connection at a time: entering another one leaves it. It is
    /// entered again after each reconnect.
    pub async fn enter_room(&self, room_id: u64, from_start: bool) {
        self.command(Command::EnterRoom { room_id, from_start }).await;
    }

    /// Leaves the room.
    pub async fn leave_room(&self) {
        self.enter_room(0, false).await;
    }

    /// A packet with a command of your own (from 1000 on), which your backend answers.
    pub async fn request(&self, command: i32, content: impl Into<Bytes>) -> Result<Bytes, GimError> {
        self.ask(command, content.into(), self.request_options.is_repeatable.unwrap_or(false)).await
    }

    /// A method of an `*ExtService` by its name, as in `logic.GroupExtService/Create`, with the bytes of its request.
    pub async fn call(&self, method: &str, body: impl Into<Bytes>) -> Result<Bytes, GimError> {
        let is_read = method.split('/').nth(1).is_some_and(|name| READS.iter().any(|read| name.starts_with(read)));
        self.call_as(method, body.into(), self.request_options.is_repeatable.unwrap_or(is_read)).await
    }

    /// The same with messages of [`proto`](crate::proto).
    pub async fn rpc<Reply: prost::Message + Default>(
        &self,
        method: &str,
        request: &impl prost::Message,
    ) -> Result<Reply, GimError> {
        let data = self.call(method, request.encode_to_vec()).await?;
        Reply::decode(data).map_err(|_| GimError::unreadable())
    }

    /// What may be done twice as well as once.
    pub(crate) async fn repeatable_rpc<Reply: prost::Message + Default>(
        &self,
        method: &str,
        request: &impl prost::Message,
    ) -> Result<Reply, GimError> {
        let is_repeatable = self.request_options.is_repeatable.unwrap_or(true);
        let data = self.call_as(method, request.encode_to_vec().into(), is_repeatable).await?;
        Reply::decode(data).map_err(|_| GimError::unreadable())
    }

    async fn call_as(&self, method: &str, body: Bytes, is_repeatable: bool) -> Result<Bytes, GimError> {
        let content = CallRequest { method: method.to_owned(), body }.encode_to_vec();
        self.ask(PacketCommand::PcCall as i32, content.into(), is_repeatable).await
    }

    async fn ask(&self, command: i32, content: Bytes, is_repeatable: bool) -> Result<Bytes, GimError> {
        let request_id = format!("app-{}", self.next_id.fetch_add(1, Ordering::Relaxed));
        let request = AppRequest { request_id, command, content, is_repeatable, deadline_ms: 0 };
        let (sender, answer) = oneshot::channel();
        self.command(Command::Request(request, self.request_options.timeout, sender)).await;
        let answer = answer.await.map_err(|_| GimError::stopped())?;
        if answer.code == 0 { Ok(answer.data) } else { Err(answer.into()) }
    }

    /// A client that is gone takes none, which whoever waits for an answer is told by its absence.
    async fn command(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }
}

/// A UUID of version 4.
fn random_id() -> String {
    let number: u128 = rand::rng().random();
    let number = number & !(0xf000 << 64) & !(0b11 << 62) | (0x4000 << 64) | (0b10 << 62);
    let hex = format!("{number:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_and_another_one_each_time() {
        let ids = [random_id(), random_id()];
        assert_ne!(ids[0], ids[1]);
        for id in ids {
            let letters: Vec<char> = id.chars().collect();
            assert_eq!((letters.len(), letters[14]), (36, '4'), "{id}");
            assert!([8, 13, 18, 23].iter().all(|&at| letters[at] == '-') && "89ab".contains(letters[19]), "{id}");
        }
    }
}
