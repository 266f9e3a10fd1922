//! The state of one client, without IO: what it says first, what it takes for an answer, and the frames it gets out of
//! the bytes it is given. Memory is held only while a frame is unfinished.

use std::fmt;

use gim_proto::connect::{CloseNotice, PacketCommand, Reply};
use prost::Message as _;

use super::{
    packet::{Malformed, Packet},
    transport::TransportError,
};

/// How far a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The socket is not connected yet.
    Connecting,
    /// The socket is connected; the layer of the transport is not ready for frames yet.
    Opening,
    /// The greeting was sent, its reply is awaited.
    SigningIn,
    /// Signed in, or connected where there is nothing to sign in with.
    Ready,
    /// Over.
    Closed,
}

/// Why a client is over although nobody here wanted it.
#[derive(Debug)]
pub enum Closed {
    /// The server did not accept the sign-in.
    Refused(Reply),
    /// The server said goodbye.
    Goodbye(CloseNotice),
    /// The server ended the connection without a word.
    Eof,
    /// The server sent something else than packets.
    Malformed,
    /// The socket failed.
    Io(std::io::Error),
    /// The socket could not be connected.
    Unreachable(std::io::Error),
    /// The layer of the transport gave up.
    Layer(TransportError),
}

impl fmt::Display for Closed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reply) => {
                write!(formatter, "a sign-in was refused with code {}: {}", reply.code, reply.message)
            }
            Self::Goodbye(notice) => write!(formatter, "the server closed a connection: {}", notice.message),
            Self::Eof => write!(formatter, "the server closed a connection without a word"),
            Self::Malformed => write!(formatter, "{Malformed}"),
            Self::Io(error) => write!(formatter, "a connection failed: {error}"),
            Self::Layer(error) => write!(formatter, "{error}"),
            Self::Unreachable(error) => write!(formatter, "a connection could not be opened: {error}"),
        }
    }
}

/// What a packet was.
#[derive(Debug)]
pub enum Step {
    /// The client is signed in now.
    Ready,
    /// For the scenario.
    Packet,
    /// The end.
    Closed(Closed),
}

/// One client.
#[derive(Debug)]
pub struct Session {
    state: State,
    /// The frame that signs in; empty where there is none, and once it was sent.
    greeting: Box<[u8]>,
    /// The beginning of a frame that is not whole.
    tail: Vec<u8>,
}

impl Session {
    /// A client that will say `greeting` first.
    pub fn new(greeting: Box<[u8]>) -> Self {
        Self { state: State::Connecting, greeting, tail: Vec::new() }
    }

    /// How far it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// The socket is connected.
    pub fn connected(&mut self) {
        self.state = State::Opening;
    }

    /// Frames may be sent: what to send first.
    pub fn opened(&mut self) -> Box<[u8]> {
        self.state = if self.greeting.is_empty() { State::Ready } else { State::SigningIn };
        std::mem::take(&mut self.greeting)
    }

    /// It is over.
    pub fn close(&mut self) {
        self.state = State::Closed;
        self.tail = Vec::new();
    }

    /// The bytes that came before and belong to an unfinished frame.
    pub fn take_tail(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.tail)
    }

    /// Keeps the beginning of an unfinished frame.
    pub fn keep_tail(&mut self, rest: &[u8]) {
        self.tail = rest.to_vec();
    }

    /// What a packet means for the state.
    pub fn take(&mut self, packet: &Packet<'_>) -> Step {
        const CLOSE: i32 = PacketCommand::PcClose as i32;
        const SIGN_IN: i32 = PacketCommand::PcSignIn as i32;
        match (self.state, packet.command) {
            (_, CLOSE) => match CloseNotice::decode(packet.content) {
                Ok(notice) => Step::Closed(Closed::Goodbye(notice)),
                Err(_) => Step::Closed(Closed::Malformed),
            },
            (State::SigningIn, SIGN_IN) => match Reply::decode(packet.content) {
                Ok(reply) if reply.code == 0 => {
                    self.state = State::Ready;
                    Step::Ready
                }
                Ok(reply) => Step::Closed(Closed::Refused(reply)),
                Err(_) => Step::Closed(Closed::Malformed),
            },
            _ => Step::Packet,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet_of(command: PacketCommand, content: &[u8]) -> Packet<'_> {
        Packet { command: command as i32, content, ..Packet::default() }
    }

    #[test]
    fn a_client_greets_and_is_ready_when_the_reply_says_so() {
        let mut session = Session::new(Box::from(*b"hello"));
        assert_eq!(session.state(), State::Connecting);
        assert_eq!(&session.opened()[..], b"hello");
        assert_eq!(session.state(), State::SigningIn);
        assert!(matches!(session.take(&packet_of(PacketCommand::PcHeartbeat, b"")), Step::Packet));
        assert!(matches!(session.take(&packet_of(PacketCommand::PcSignIn, b"")), Step::Ready));
        assert_eq!(session.state(), State::Ready);
    }

    #[test]
    fn a_client_without_a_greeting_is_ready_at_once() {
        let mut session = Session::new(Box::default());
        assert!(session.opened().is_empty());
        assert_eq!(session.state(), State::Ready);
    }

    #[test]
    fn refusals_and_goodbyes_are_sentences() {
        let mut session = Session::new(Box::from(*b"hello"));
        session.opened();
        let refusal = Reply { code: 10000, message: "please sign in again".into(), ..Reply::default() }.encode_to_vec();
        let Step::Closed(why) = session.take(&packet_of(PacketCommand::PcSignIn, &refusal)) else { panic!() };
        assert_eq!(why.to_string(), "a sign-in was refused with code 10000: please sign in again");
        let notice = CloseNotice { message: "bye".into(), ..CloseNotice::default() }.encode_to_vec();
        let Step::Closed(why) = session.take(&packet_of(PacketCommand::PcClose, &notice)) else { panic!() };
        assert_eq!(why.to_string(), "the server closed a connection: bye");
    }

    #[test]
    fn an_unfinished_frame_waits_in_the_tail() {
        let mut session = Session::new(Box::default());
        session.keep_tail(&[2, 0x10]);
        assert_eq!(session.take_tail(), [2, 0x10]);
        assert!(session.take_tail().is_empty());
    }
}
