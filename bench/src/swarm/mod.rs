//! Many clients on one thread: epoll, a table of clients, and one scratch buffer for everything that is read. The thread
//! that calls [`Swarm::turn`] does all the work; more cores are used by more processes.
//!
//! A scenario is a [`Behaviour`]: it is told what happens to each client and answers through the client's [`Connection`].

mod connection;
pub mod older;
pub mod packet;
mod session;
mod tls;
pub mod transport;
mod web;

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use mio::{Events, Interest, Poll, Token, event::Event};

pub use self::{connection::Connection, packet::Packet, session::Closed};
use self::{
    connection::Intake,
    packet::{Malformed, split_frame},
    session::{Session, State, Step},
    transport::ServerEndpoint,
};
use crate::{
    part::Part,
    progress::{self, Progress},
};

/// Longest wait for anything the server is asked for.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Bytes taken by one read.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Events taken by one turn.
const EVENTS: usize = 1024;

/// Longest time between two ticks.
pub const TICK: Duration = Duration::from_millis(10);

/// How the clients of a scenario behave. An error ends the run.
pub trait Behaviour {
    /// A client has signed in, or connected where it has nothing to sign in with.
    fn on_ready(&mut self, _link: &mut Connection, _now: Instant) -> anyhow::Result<()> {
        Ok(())
    }

    /// A packet came, other than the answer to the sign-in and the last word of the server.
    fn on_packet(&mut self, connection: &mut Connection, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()>;

    /// When it has something to do that no packet tells, as exactly as the clock of epoll goes (1 ms).
    fn next_due(&self) -> Option<Instant> {
        None
    }

    /// All events of a turn were handled.
    fn on_tick(&mut self, _swarm: &mut Swarm) -> anyhow::Result<()> {
        Ok(())
    }

    /// The server, or the network, ended a connection.
    fn on_closed(&mut self, _id: usize, why: Closed) -> anyhow::Result<()> {
        Err(anyhow!("{why}"))
    }
}

#[derive(Debug)]
struct Client {
    connection: Connection,
    session: Session,
}

/// The clients of this thread.
#[derive(Debug)]
pub struct Swarm {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    scratch: Vec<u8>,
    /// Clients that are not ready yet.
    pending: usize,
    ready: usize,
    /// Added to the number of a client where its source address is chosen: parts of a run have different ones.
    first_number: usize,
}

impl Swarm {
    /// An empty one, of a run of one process.
    #[cfg(test)]
    pub fn new() -> anyhow::Result<Self> {
        Self::for_part(Part::WHOLE)
    }

    /// An empty one.
    pub fn for_part(part: Part) -> anyhow::Result<Self> {
        Ok(Self {
            poll: Poll::new().context("cannot open epoll")?,
            events: Events::with_capacity(EVENTS),
            clients: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            pending: 0,
            ready: 0,
            first_number: part.number * connection::CONNECTIONS_PER_PROCESS,
        })
    }

    /// Begins to connect one more client.
    pub fn open(&mut self, to: &ServerEndpoint, greeting: Box<[u8]>) -> anyhow::Result<usize> {
        let id = self.clients.len();
        let client = self.connect(id, to, greeting)?;
        self.clients.push(client);
        Ok(id)
    }

    /// Begins to connect a client again whose connection is closed.
    pub fn reopen(&mut self, id: usize, to: &ServerEndpoint, greeting: Box<[u8]>) -> anyhow::Result<()> {
        self.clients[id] = self.connect(id, to, greeting)?;
        Ok(())
    }

    fn connect(&mut self, id: usize, to: &ServerEndpoint, greeting: Box<[u8]>) -> anyhow::Result<Client> {
        let address = to.address;
        let mut stream = connection::connect(address, self.first_number + id)
            .map_err(|error| anyhow!("cannot connect to {address}: {error}"))?;
        // One event per socket and batch: a slot that is used anew within a batch meets no event of its former owner.
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(id), interest).context("cannot watch a socket")?;
        self.pending += 1;
        Ok(Client { connection: Connection::new(id, stream, to.layer()?), session: Session::new(greeting) })
    }

    /// The connection of a client.
    pub fn connection(&mut self, id: usize) -> &mut Connection {
        &mut self.clients[id].connection
    }

    /// Has a client read again that had got stuck, beginning with what waits for it.
    pub fn recover(&mut self, id: usize, behaviour: &mut impl Behaviour) -> anyhow::Result<()> {
        let client = &mut self.clients[id];
        client.connection.recover().context("cannot make a client read again")?;
        match self.read(id, true, behaviour)? {
            Some(why) => self.closed(id, why, behaviour),
            None => Ok(()),
        }
    }

    /// Ends a connection at once; the client may be opened again.
    pub fn hang_up(&mut self, id: usize) -> anyhow::Result<()> {
        self.clients[id].connection.hang_up();
        self.forget(id)
    }

    /// How many clients there are, in whatever state.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether a client is ready.
    pub fn is_ready(&self, id: usize) -> bool {
        self.clients[id].session.state() == State::Ready
    }

    /// How many are ready.
    pub fn ready(&self) -> usize {
        self.ready
    }

    /// Turns until the behaviour is settled; false where it is not and nothing more comes within [`DEADLINE`].
    pub fn settle<B: Behaviour>(
        &mut self,
        behaviour: &mut B,
        activity: impl Fn(&B) -> u64,
        is_settled: impl Fn(&B) -> bool,
    ) -> anyhow::Result<bool> {
        let mut newest = (activity(behaviour), Instant::now());
        while !is_settled(behaviour) {
            self.turn(behaviour, Duration::MAX)?;
            if activity(behaviour) != newest.0 {
                newest = (activity(behaviour), Instant::now());
            } else if newest.1.elapsed() > DEADLINE {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits for events, `timeout` at most, and handles them.
    pub fn turn(&mut self, behaviour: &mut impl Behaviour, timeout: Duration) -> anyhow::Result<()> {
        let due = behaviour.next_due().map_or(TICK, |due| due.saturating_duration_since(Instant::now()));
        match self.poll.poll(&mut self.events, Some(timeout.min(TICK).min(due))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => result.context("epoll failed")?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            self.serve(event, behaviour)?;
        }
        self.events = events;
        progress::set_standing(self.ready as u64);
        behaviour.on_tick(self)
    }

    /// Turns until then.
    pub fn run_until(&mut self, behaviour: &mut impl Behaviour, end: Instant) -> anyhow::Result<()> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.turn(behaviour, left)?;
        }
    }

    /// Connects one client per greeting, to each endpoint in turn, `in_flight` at a time, and waits until all are ready.
    pub fn gather(
        &mut self,
        behaviour: &mut impl Behaviour,
        endpoints: &[ServerEndpoint],
        greetings: impl ExactSizeIterator<Item = Box<[u8]>>,
        in_flight: usize,
    ) -> anyhow::Result<()> {
        let (total, before) = (greetings.len(), self.ready);
        let mut progress = Progress::new("connecting", total as u64);
        let mut greetings = greetings.peekable();
        let mut newest = (self.ready, Instant::now());
        while greetings.peek().is_some() || self.pending > 0 {
            while self.pending < in_flight
                && let Some(greeting) = greetings.next()
            {
                self.open(&endpoints[self.clients.len() % endpoints.len()], greeting)?;
            }
            self.turn(behaviour, TICK)?;
            if self.ready != newest.0 {
                newest = (self.ready, Instant::now());
            }
            let ready = self.ready - before;
            if newest.1.elapsed() > DEADLINE {
                return Err(anyhow!("only {ready} of {total} connections are ready; none in the last {DEADLINE:?}"));
            }
            progress.show(ready as u64, || format!("{ready} of {total} connections"));
        }
        Ok(())
    }

    fn serve(&mut self, event: &Event, behaviour: &mut impl Behaviour) -> anyhow::Result<()> {
        let id = event.token().0;
        let client = &mut self.clients[id];
        if client.session.state() == State::Connecting {
            match client.connection.is_connected() {
                Ok(true) => {
                    client.session.connected();
                    match client.connection.open() {
                        Ok(()) => self.greet(id, behaviour)?,
                        Err(error) => return self.closed(id, Closed::Layer(error), behaviour),
                    }
                }
                Ok(false) => return Ok(()),
                Err(error) => return self.closed(id, Closed::Unreachable(error), behaviour),
            }
        } else if event.is_writable() {
            client.connection.flush();
        }
        let connection = &self.clients[id].connection;
        let is_deaf = connection.is_stuck() || connection.is_hanging_up();
        let ended = if is_deaf { None } else { self.read(id, event.is_read_closed(), behaviour)? };
        match ended {
            _ if self.clients[id].connection.is_hanging_up() => self.forget(id),
            Some(why) => self.closed(id, why, behaviour),
            None => Ok(()),
        }
    }

    /// Says the first words as soon as the transport is ready for them.
    fn greet(&mut self, id: usize, behaviour: &mut impl Behaviour) -> anyhow::Result<()> {
        let client = &mut self.clients[id];
        if client.session.state() != State::Opening || !client.connection.is_open() {
            return Ok(());
        }
        let greeting = client.session.opened();
        client.connection.send(&greeting);
        if client.session.state() == State::Ready {
            self.pending -= 1;
            self.ready += 1;
            behaviour.on_ready(&mut client.connection, Instant::now())?;
        }
        Ok(())
    }

    /// Reads until there is nothing. A read that comes back short was the last, as further bytes make a new event; only
    /// an end that was already announced makes none.
    fn read(&mut self, id: usize, has_ended: bool, behaviour: &mut impl Behaviour) -> anyhow::Result<Option<Closed>> {
        loop {
            let count = match self.clients[id].connection.read(&mut self.scratch) {
                Ok(Intake::Some(count)) => count,
                Ok(Intake::Blocked) => return Ok(None),
                Ok(Intake::Eof) => return Ok(Some(Closed::Eof)),
                Err(error) => return Ok(Some(Closed::Io(error))),
            };
            let end = match self.clients[id].connection.unwrap(&self.scratch[..count]) {
                Ok(None) => self.take_bytes(id, count, behaviour)?,
                Ok(Some(frames)) => {
                    self.greet(id, behaviour)?;
                    self.take_frames(id, &frames, behaviour)?
                }
                Err(error) => Some(Closed::Layer(error)),
            };
            let connection = &self.clients[id].connection;
            let is_done = end.is_some() || connection.is_hanging_up() || connection.is_stuck();
            if is_done || (count < self.scratch.len() && !has_ended) {
                return Ok(end);
            }
        }
    }

    /// Hands the packets among the first `count` bytes of the scratch buffer on.
    fn take_bytes(
        &mut self,
        id: usize,
        count: usize,
        behaviour: &mut impl Behaviour,
    ) -> anyhow::Result<Option<Closed>> {
        // Lent to the call, and nothing in it reads from a socket.
        let scratch = std::mem::take(&mut self.scratch);
        let end = self.take_frames(id, &scratch[..count], behaviour);
        self.scratch = scratch;
        end
    }

    /// Hands the packets among these bytes on, and keeps the beginning of the next.
    fn take_frames(
        &mut self,
        id: usize,
        bytes: &[u8],
        behaviour: &mut impl Behaviour,
    ) -> anyhow::Result<Option<Closed>> {
        let now = Instant::now();
        let Client { connection, session } = &mut self.clients[id];
        let mut tail = session.take_tail();
        let mut bytes = bytes;
        if !tail.is_empty() {
            tail.extend_from_slice(bytes);
            bytes = &tail;
        }
        while !connection.is_hanging_up() {
            let (frame, rest) = match split_frame(bytes) {
                Ok(Some(parts)) => parts,
                Ok(None) => break,
                Err(Malformed) => return Ok(Some(Closed::Malformed)),
            };
            let Ok(packet) = Packet::read(frame) else { return Ok(Some(Closed::Malformed)) };
            match session.take(&packet) {
                Step::Packet => behaviour.on_packet(connection, &packet, now)?,
                Step::Ready => {
                    self.pending -= 1;
                    self.ready += 1;
                    behaviour.on_ready(connection, now)?;
                }
                Step::Closed(why) => return Ok(Some(why)),
            }
            bytes = rest;
        }
        session.keep_tail(bytes);
        Ok(None)
    }

    fn closed(&mut self, id: usize, why: Closed, behaviour: &mut impl Behaviour) -> anyhow::Result<()> {
        self.forget(id)?;
        behaviour.on_closed(id, why)
    }

    fn forget(&mut self, id: usize) -> anyhow::Result<()> {
        let client = &mut self.clients[id];
        match client.session.state() {
            State::Ready => self.ready -= 1,
            State::Connecting | State::Opening | State::SigningIn => self.pending -= 1,
            State::Closed => {}
        }
        client.session.close();
        client.connection.close().context("cannot close a connection")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use gim_proto::connect::{Packet as Envelope, PacketCommand};
    use prost::Message as _;

    use super::{transport::tests::Turned, *};

    /// Answers every packet with itself, when it is ready.
    #[derive(Default)]
    struct Once {
        answered: bool,
    }

    impl Behaviour for Once {
        fn on_ready(&mut self, connection: &mut Connection, _now: Instant) -> anyhow::Result<()> {
            connection.send(&heartbeat());
            Ok(())
        }

        fn on_packet(&mut self, _link: &mut Connection, packet: &Packet<'_>, _now: Instant) -> anyhow::Result<()> {
            self.answered = packet.command == PacketCommand::PcHeartbeat as i32;
            Ok(())
        }
    }

    fn heartbeat() -> Vec<u8> {
        Envelope { command: PacketCommand::PcHeartbeat as i32, ..Envelope::default() }.encode_length_delimited_to_vec()
    }

    #[test]
    fn a_layer_between_socket_and_frames_has_its_handshake_first() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut hello = [0; 5];
            peer.read_exact(&mut hello).unwrap();
            peer.write_all(b"!").unwrap();
            let mut frame = vec![0; heartbeat().len()];
            peer.read_exact(&mut frame).unwrap();
            assert_eq!(frame, heartbeat().iter().map(|byte| !byte).collect::<Vec<_>>());
            peer.write_all(&frame).unwrap();
            peer.read_to_end(&mut Vec::new()).unwrap();
        });
        let mut swarm = Swarm::new().unwrap();
        let mut once = Once::default();
        swarm.open(&ServerEndpoint::tcp(address), Box::default()).unwrap();
        swarm.clients[0].connection.put_layer(Box::new(Turned::default()));
        let deadline = Instant::now() + DEADLINE;
        while !once.answered {
            assert!(Instant::now() < deadline, "the echo of a packet comes back through the layer");
            swarm.turn(&mut once, TICK).unwrap();
        }
    }
}
