//! One connection, which a task of its own drives: it reads and writes by turns, and neither waits for the other. While the client has not
//! looked at what was read, nothing more is read.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
};

use super::{Address, Tls, TransportError, codec::Codec, open};

/// Packets that were read and not looked at, or wait to be written.
const PACKETS_MAX: usize = 512;
/// Bytes that wait to be written, until no further packet is taken.
const WRITE_BYTES_MAX: usize = 256 * 1024;
const READ_BYTES: usize = 16 * 1024;

/// What happens on a connection, in this order.
#[derive(Debug)]
pub(crate) enum SocketEvent {
    Opened,
    Packet(Bytes),
    /// Nothing follows.
    Closed(TransportError),
}

/// A connection, or one that is being opened. Dropped, it is closed.
pub(crate) struct Socket {
    outgoing: mpsc::Sender<Bytes>,
    events: mpsc::Receiver<SocketEvent>,
    task: AbortHandle,
}

impl Socket {
    pub(crate) fn open(url: String, tls: Tls) -> Self {
        let (outgoing, packets) = mpsc::channel(PACKETS_MAX);
        let (sender, events) = mpsc::channel(PACKETS_MAX);
        let task: JoinHandle<()> = tokio::spawn(async move {
            let error = drive(&url, &tls, packets, &sender).await;
            // Nobody listens any more where this fails.
            let _ = sender.send(SocketEvent::Closed(error)).await;
        });
        Self { outgoing, events, task: task.abort_handle() }
    }

    /// Whether it was taken: a server that reads nothing is as good as gone.
    pub(crate) fn send(&self, packet: Bytes) -> bool {
        self.outgoing.try_send(packet).is_ok()
    }

    pub(crate) async fn next(&mut self) -> SocketEvent {
        self.events.recv().await.unwrap_or(SocketEvent::Closed(TransportError::Closed))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until the connection ends.
async fn drive(
    url: &str,
    tls: &Tls,
    mut packets: mpsc::Receiver<Bytes>,
    events: &mpsc::Sender<SocketEvent>,
) -> TransportError {
    match run(url, tls, &mut packets, events).await {
        Ok(()) => TransportError::Closed,
        Err(error) => error,
    }
}

async fn run(
    url: &str,
    tls: &Tls,
    packets: &mut mpsc::Receiver<Bytes>,
    events: &mpsc::Sender<SocketEvent>,
) -> Result<(), TransportError> {
    let address = Address::parse(url)?;
    let (mut reader, mut writer) = split(open(&address, tls).await?);
    let mut codec = Codec::new(&address);
    let (mut read, mut written) = (BytesMut::with_capacity(READ_BYTES), BytesMut::from(&codec.begin()[..]));
    let (mut is_told, mut is_flushed) = (false, true);
    let mut arrived = Vec::new();
    if codec.is_open() {
        is_told = true;
        if events.send(SocketEvent::Opened).await.is_err() {
            return Ok(());
        }
    }
    loop {
        tokio::select! {
            count = reader.read_buf(&mut read) => {
                if count? == 0 {
                    return Err(TransportError::Closed);
                }
                let outcome = codec.decode(&mut read, &mut arrived, &mut written);
                // What came whole before a mistake is good. A WebSocket may open with the first packets right behind.
                let opened = (codec.is_open() && !is_told).then_some(SocketEvent::Opened);
                is_told |= opened.is_some();
                for event in opened.into_iter().chain(arrived.drain(..).map(SocketEvent::Packet)) {
                    if events.send(event).await.is_err() {
                        return Ok(());
                    }
                }
                outcome?;
            }
            packet = packets.recv(), if codec.is_open() && written.len() < WRITE_BYTES_MAX => match packet {
                Some(packet) => codec.encode(packet, &mut written)?,
                None => return Ok(()),
            },
            flushed = write_some(&mut writer, &mut written), if !written.is_empty() || !is_flushed => is_flushed = flushed?,
        }
        if read.capacity() - read.len() < READ_BYTES / 4 {
            read.reserve(READ_BYTES);
        }
    }
}

/// Writes a part of it. Returns whether that was all of it: TLS keeps the end of what it was given.
async fn write_some(writer: &mut (impl AsyncWrite + Unpin), bytes: &mut BytesMut) -> io::Result<bool> {
    if bytes.is_empty() {
        writer.flush().await?;
        return Ok(true);
    }
    writer.write_buf(bytes).await?;
    Ok(false)
}
