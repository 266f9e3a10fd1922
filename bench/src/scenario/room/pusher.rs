//! Who pushes: a thread per side that takes bursts from the swarm's thread, one after the other, and waits where it has to.

use std::{
    io::{BufWriter, Write as _},
    process::ChildStdin,
    sync::mpsc::{Receiver, Sender, TryRecvError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use gim_proto::{
    connect::{Message, Packet, PacketCommand},
    logic::{PushRoomRequest, room_int_service_client::RoomIntServiceClient},
    metadata,
};
use prost::Message as _;
use tokio::{runtime::Handle, task::JoinSet};
use tonic::{Request, transport::Channel};

use crate::{
    baseline,
    swarm::{DEADLINE, transport::ServerEndpoint},
    target::{Target, refused},
};

/// A message command of the app's own, passed through untouched.
const APP_COMMAND: i32 = 2001;

/// One burst: the front of its messages, which says when they are meant to leave, and how many there are.
type Burst = ([u8; 8], u32);

/// Calls that push to one room of the server.
pub struct RoomCalls {
    client: RoomIntServiceClient<Channel>,
    runtime: Handle,
    internal_token: String,
    room_id: u64,
}

impl RoomCalls {
    /// For this room.
    pub fn new(target: &Target, room_id: u64) -> Self {
        Self {
            client: RoomIntServiceClient::new(target.logic()),
            runtime: target.runtime().clone(),
            internal_token: target.internal_token().to_owned(),
            room_id,
        }
    }

    /// Pushes messages with these contents all at once, and waits until the server has them.
    pub fn push(&self, contents: Vec<Vec<u8>>) -> anyhow::Result<()> {
        let mut calls = JoinSet::new();
        let _in_runtime = self.runtime.enter();
        for content in contents {
            let (room_id, content) = (self.room_id, content.into());
            let request = PushRoomRequest { room_id, command: APP_COMMAND, content, ..Default::default() };
            let mut request = Request::new(request);
            if !self.internal_token.is_empty() {
                metadata::put(&mut request, metadata::INTERNAL_TOKEN, &self.internal_token);
            }
            let mut client = self.client.clone();
            calls.spawn(async move { tokio::time::timeout(DEADLINE, client.push_room(request)).await });
        }
        // `join_all` would panic where the run ends, and its runtime with it.
        while let Some(ended) = self.runtime.block_on(calls.join_next()) {
            let answer = ended.context("a push ended early")?;
            let answer = answer.with_context(|| format!("PushRoom was not answered within {DEADLINE:?}"))?;
            answer.map_err(|status| refused("PushRoom", &status))?;
        }
        Ok(())
    }
}

/// The near end of a pushing thread.
pub struct Pusher {
    bursts: Sender<Burst>,
    failures: Receiver<anyhow::Error>,
    epoch: Instant,
}

impl Pusher {
    /// Pushes to a room of the server.
    pub fn to_room(target: &Target, room_id: u64, size: usize) -> anyhow::Result<Self> {
        let room = RoomCalls::new(target, room_id);
        Self::start(size, move |burst| room.push(burst))
    }

    /// Has a bare write loop push, with what the server would write at such a door.
    pub fn to_sockets(input: ChildStdin, endpoint: ServerEndpoint, size: usize) -> anyhow::Result<Self> {
        let mut output = BufWriter::with_capacity(1 << 20, input);
        let mut seq = 0;
        Self::start(size, move |burst| {
            for content in burst {
                seq += 1;
                let bytes = endpoint.carry(frame(seq, content))?;
                baseline::put(&mut output, &bytes).context("the bare write loop is gone")?;
            }
            output.flush().context("the bare write loop is gone")
        })
    }

    fn start(
        size: usize,
        mut push: impl FnMut(Vec<Vec<u8>>) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (bursts, taken) = channel::<Burst>();
        let (failed, failures) = channel();
        let contents = move |(front, count): Burst| {
            let mut content = vec![b'.'; size];
            content[..front.len()].copy_from_slice(&front);
            vec![content; count as usize]
        };
        let work = move || {
            // Nobody is left to tell a failure to where the run has ended.
            if let Err(error) = taken.into_iter().map(contents).try_for_each(&mut push) {
                let _run_has_ended = failed.send(error).is_err();
            }
        };
        thread::Builder::new().name("pusher".into()).spawn(work).context("cannot start a thread")?;
        Ok(Self { bursts, failures, epoch: Instant::now() })
    }

    /// Hands a burst over that is meant to leave at `intended`.
    pub fn push(&self, intended: Instant, count: u32) -> anyhow::Result<()> {
        let at = u64::try_from((intended - self.epoch).as_nanos()).unwrap_or(u64::MAX);
        self.bursts.send((at.to_le_bytes(), count)).or_else(|_| self.check().and_then(|()| bail!("a pusher has ended")))
    }

    /// The failure of the thread, if it has failed.
    pub fn check(&self) -> anyhow::Result<()> {
        match self.failures.try_recv() {
            Ok(error) => Err(error),
            Err(TryRecvError::Empty) => Ok(()),
            Err(TryRecvError::Disconnected) => Err(anyhow!("a pusher has ended")),
        }
    }

    /// When the message with this content was meant to leave.
    pub fn intended(&self, content: &[u8]) -> Option<Instant> {
        content.first_chunk::<8>()?;
        self.epoch.checked_add(Duration::from_nanos(Self::time_in(content)))
    }

    /// The same as the number that stands in it; 0 where none does.
    pub fn time_in(content: &[u8]) -> u64 {
        content.first_chunk().map_or(0, |at| u64::from_le_bytes(*at))
    }
}

fn frame(seq: u64, content: Vec<u8>) -> Vec<u8> {
    let message = Message {
        command: APP_COMMAND,
        content: content.into(),
        seq,
        created_at: 1_700_000_000,
        created_at_ms: 1_700_000_000_000,
        room_id: i64::MAX as u64,
        message_id: i64::MAX as u64,
        ..Message::default()
    };
    let command = PacketCommand::PcMessage as i32;
    let packet = Packet { command, content: message.encode_to_vec().into(), ..Packet::default() };
    packet.encode_length_delimited_to_vec()
}
