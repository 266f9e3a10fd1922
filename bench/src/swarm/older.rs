//! A client of an older dialect, as a layer between a transport and the frames: scenarios say and hear today's packets, and the server the
//! dialect's. Without IO; on the swarm's thread.
//!
//! The numbers stand here once more, and are not those of the server's own crate: what the server has wrong must not look right from here.

use clap::ValueEnum;
use gim_proto::connect::PacketCommand;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::{
    packet::{Malformed, Packet, bytes_of, number_of, split_frame},
    transport::{TransportError, TransportLayer},
};

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// One message for everything.
    #[value(name = "2025-08")]
    August2025,
    /// `Input` and `Output`.
    #[value(name = "2024-01")]
    January2024,
    /// The same, with typed contents and without rooms.
    #[value(name = "2020-12")]
    December2020,
    /// Today's, read and written anew as well, so that clients of both have the same work.
    #[value(skip)]
    Today,
}

/// The types of `Input` and `Output`, and of commands in 2025, from sign-in on.
const INPUT_TYPES: [(i32, PacketCommand); 3] =
    [(1, PacketCommand::PcSignIn), (3, PacketCommand::PcHeartbeat), (5, PacketCommand::PcSubscribeRoom)];
const PUSH: i32 = 4;
const HINT: i32 = 2;
const COMMANDS: [(i32, PacketCommand); 3] =
    [(1, PacketCommand::PcSignIn), (2, PacketCommand::PcHeartbeat), (3, PacketCommand::PcSubscribeRoom)];

impl Dialect {
    /// Its place among the listeners of older clients.
    pub fn place(self) -> u16 {
        match self {
            Self::August2025 | Self::Today => 0,
            Self::January2024 => 1,
            Self::December2020 => 2,
        }
    }

    /// Whether there are rooms.
    pub fn has_rooms(self) -> bool {
        self != Self::December2020
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(|| "today".to_owned(), |value| value.get_name().to_owned())
    }

    /// What a client says, in its words. None where it has none.
    fn said(self, packet: &Packet<'_>) -> Result<Option<Vec<u8>>, Malformed> {
        let mut content = packet.content.to_vec();
        if self != Self::Today && packet.command == PacketCommand::PcSignIn as i32 {
            // User and device stood the other way round.
            content.clear();
            put_number(&mut content, 1, number_of(packet.content, 2)?);
            put_number(&mut content, 2, number_of(packet.content, 1)?);
            put_bytes(&mut content, 3, bytes_of(packet.content, 3)?);
        }
        let mut out = Vec::new();
        match self {
            Self::Today => return Ok(Some(todays(packet.request_id, packet.command, &content, packet.seq))),
            Self::August2025 => {
                let Some(command) = old_number(&COMMANDS, packet.command) else { return Ok(None) };
                put_bytes(&mut out, 1, packet.request_id);
                put_number(&mut out, 2, command as u64);
                put_bytes(&mut out, 3, &content);
            }
            Self::January2024 | Self::December2020 => {
                let Some(package_type) = old_number(&INPUT_TYPES, packet.command) else { return Ok(None) };
                put_number(&mut out, 1, package_type as u64);
                put_number(&mut out, 2, u64::from(!packet.request_id.is_empty()));
                put_bytes(&mut out, 3, &content);
            }
        }
        Ok(Some(out))
    }

    /// What the server says, in today's words.
    fn heard(self, frame: &[u8]) -> Result<Vec<u8>, Malformed> {
        match self {
            Self::Today => {
                let Packet { request_id, command, content, seq } = Packet::read(frame)?;
                Ok(todays(request_id, command, content, seq))
            }
            Self::August2025 => heard_of_2025(frame),
            Self::January2024 | Self::December2020 => self.heard_output(frame),
        }
    }

    fn heard_output(self, frame: &[u8]) -> Result<Vec<u8>, Malformed> {
        let (package_type, data) = (number_of(frame, 1)? as i32, bytes_of(frame, 5)?);
        if package_type == PUSH {
            let (message, [command, content, seq]) = match self {
                Self::December2020 => (bytes_of(data, 1)?, [5, 6, 7]),
                _ => (data, [1, 2, 3]),
            };
            let (command, seq) = (number_of(message, command)?, number_of(message, seq)?);
            return Ok(pushed(command, bytes_of(message, content)?, seq, 0));
        }
        if package_type == HINT && number_of(frame, 2)? == 0 {
            return Ok(todays(b"", PacketCommand::PcSyncHint as i32, b"", 0));
        }
        answer(new_number(&INPUT_TYPES, package_type), number_of(frame, 3)?, bytes_of(frame, 4)?, data)
    }
}

fn heard_of_2025(frame: &[u8]) -> Result<Vec<u8>, Malformed> {
    let (command, content) = (number_of(frame, 2)?, bytes_of(frame, 3)?);
    let (known, room_id) = (new_number(&COMMANDS, command as i32), number_of(frame, 6)?);
    // A plain message in a room has no command, as the words before the end have none.
    if known.is_none() && (command != 0 || room_id != 0) {
        return Ok(pushed(command, content, number_of(frame, 4)?, room_id));
    }
    answer(known, number_of(frame, 100)?, bytes_of(frame, 101)?, content)
}

/// An answer, or what is said before the end.
fn answer(command: Option<PacketCommand>, code: u64, message: &[u8], data: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut content = Vec::new();
    match command {
        None => put_bytes(&mut content, 2, message),
        Some(_) => {
            put_number(&mut content, 1, code);
            put_bytes(&mut content, 2, message);
            put_bytes(&mut content, 3, data);
        }
    }
    Ok(todays(b"", command.unwrap_or(PacketCommand::PcClose) as i32, &content, 0))
}

fn pushed(command: u64, content: &[u8], seq: u64, room_id: u64) -> Vec<u8> {
    let mut message = Vec::with_capacity(content.len() + 32);
    put_number(&mut message, 2, command);
    put_bytes(&mut message, 3, content);
    put_number(&mut message, 4, seq);
    put_number(&mut message, 6, room_id);
    todays(b"", PacketCommand::PcMessage as i32, &message, 0)
}

fn todays(request_id: &[u8], command: i32, content: &[u8], seq: u64) -> Vec<u8> {
    let mut packet = Vec::with_capacity(request_id.len() + content.len() + 32);
    put_bytes(&mut packet, 1, request_id);
    put_number(&mut packet, 2, command as u64);
    put_bytes(&mut packet, 3, content);
    put_number(&mut packet, 4, seq);
    packet
}

fn old_number(numbers: &[(i32, PacketCommand)], command: i32) -> Option<i32> {
    numbers.iter().find(|(_, today)| *today as i32 == command).map(|(old, _)| *old)
}

fn new_number(numbers: &[(i32, PacketCommand)], old: i32) -> Option<PacketCommand> {
    numbers.iter().find(|(known, _)| *known == old).map(|(_, today)| *today)
}

fn put_number(out: &mut Vec<u8>, tag: u32, number: u64) {
    if number != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(number, out);
    }
}

fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        encode_key(tag, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

/// The layer.
#[derive(Debug)]
pub(super) struct Reworded {
    dialect: Dialect,
    /// What lies between it and the socket; nothing for plain TCP.
    under: Option<Box<dyn TransportLayer>>,
    /// The beginning of a frame that is not whole.
    tail: Vec<u8>,
}

impl Reworded {
    pub(super) fn new(dialect: Dialect, under: Option<Box<dyn TransportLayer>>) -> Self {
        Self { dialect, under, tail: Vec::new() }
    }

    /// Appends the whole frames among `bytes`, each as `rewrite` has it; what is left of them.
    fn rewrite<'a>(
        mut bytes: &'a [u8],
        out: &mut Vec<u8>,
        rewrite: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, Malformed>,
    ) -> Result<&'a [u8], Malformed> {
        while let Some((frame, rest)) = split_frame(bytes)? {
            if let Some(frame) = rewrite(frame)? {
                encode_varint(frame.len() as u64, out);
                out.extend_from_slice(&frame);
            }
            bytes = rest;
        }
        Ok(bytes)
    }
}

impl TransportLayer for Reworded {
    fn open(&mut self, out: &mut Vec<u8>) -> Result<(), TransportError> {
        self.under.as_mut().map_or(Ok(()), |under| under.open(out))
    }

    fn is_open(&self) -> bool {
        self.under.as_ref().is_none_or(|under| under.is_open())
    }

    fn send(&mut self, frames: &[u8], out: &mut Vec<u8>) -> Result<(), TransportError> {
        let dialect = self.dialect;
        let mut reworded = Vec::new();
        Self::rewrite(frames, &mut reworded, |frame| dialect.said(&Packet::read(frame)?)).map_err(no_word)?;
        match &mut self.under {
            Some(under) => under.send(&reworded, out),
            None => {
                out.append(&mut reworded);
                Ok(())
            }
        }
    }

    fn receive(&mut self, bytes: &[u8], frames: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), TransportError> {
        let dialect = self.dialect;
        let mut whole = std::mem::take(&mut self.tail);
        match &mut self.under {
            Some(under) => under.receive(bytes, &mut whole, out)?,
            None if whole.is_empty() => {
                // The usual case: nothing is kept between two reads.
                let rest = Self::rewrite(bytes, frames, |frame| dialect.heard(frame).map(Some)).map_err(no_word)?;
                self.tail = rest.to_vec();
                return Ok(());
            }
            None => whole.extend_from_slice(bytes),
        }
        let rest = Self::rewrite(&whole, frames, |frame| dialect.heard(frame).map(Some)).map_err(no_word)?;
        self.tail = rest.to_vec();
        Ok(())
    }
}

fn no_word(error: Malformed) -> TransportError {
    TransportError(error.to_string())
}

#[cfg(test)]
mod tests {
    use gim_legacy::{Dialect as Spoken, packets};
    use gim_proto::connect::{self, Reply, SignInRequest, SubscribeRoomRequest};
    use prost::Message as _;

    use super::*;

    /// Through the layer to the server's own words, and back.
    fn exchange(
        dialect: Dialect,
        asked: &connect::Packet,
        said: &connect::Packet,
    ) -> (connect::Packet, connect::Packet) {
        let spoken = Spoken::named(&dialect.name()).unwrap();
        let (mut layer, mut wire) = (Reworded::new(dialect, None), Vec::new());
        layer.send(&asked.encode_length_delimited_to_vec(), &mut wire).unwrap();
        let (frame, rest) = split_frame(&wire).unwrap().unwrap();
        assert!(rest.is_empty());
        let mut scratch = packets::Scratch::default();
        let packets::Packet { request_id, command, content } = spoken.packets().read(frame, &mut scratch).unwrap();
        let (request_id, content) = (request_id.to_owned(), content.to_vec().into());
        let read = connect::Packet { request_id, command, content, seq: 0 };

        let (mut frame, mut frames) = (Vec::new(), Vec::new());
        let said = packets::Packet { request_id: "1", command: said.command, content: &said.content };
        assert!(spoken.packets().write(&said, &mut frame));
        let mut wire = Vec::new();
        encode_varint(frame.len() as u64, &mut wire);
        wire.extend(frame);
        for byte in wire {
            layer.receive(&[byte], &mut frames, &mut Vec::new()).unwrap();
        }
        (read, connect::Packet::decode_length_delimited(&frames[..]).unwrap())
    }

    fn packet(command: PacketCommand, content: Vec<u8>) -> connect::Packet {
        connect::Packet { command: command as i32, content: content.into(), ..connect::Packet::default() }
    }

    #[test]
    fn what_a_client_says_in_a_dialect_is_what_the_server_reads() {
        let credentials = SignInRequest { user_id: 5, device_id: 6, token: "t".into(), ..SignInRequest::default() };
        let refused = Reply { code: 10_000, message: "no".into(), ..Reply::default() };
        for dialect in [Dialect::August2025, Dialect::January2024, Dialect::December2020] {
            let asked = packet(PacketCommand::PcSignIn, credentials.encode_to_vec());
            let answered = packet(PacketCommand::PcSignIn, refused.encode_to_vec());
            let (read, heard) = exchange(dialect, &asked, &answered);
            assert_eq!(read.command, asked.command);
            assert_eq!(SignInRequest::decode(read.content).unwrap(), credentials);
            let Reply { code, message, .. } = Reply::decode(heard.content).unwrap();
            assert_eq!((heard.command, code), (answered.command, 10_000));
            assert!(message.starts_with("no"), "{message}");

            let beat = packet(PacketCommand::PcHeartbeat, Vec::new());
            let (read, heard) = exchange(dialect, &beat, &beat);
            assert_eq!((read.command, heard.command), (beat.command, beat.command));
        }
    }

    #[test]
    fn what_is_said_in_a_room_is_heard() {
        let room = SubscribeRoomRequest { room_id: 7, ..SubscribeRoomRequest::default() };
        let message = connect::Message { command: 2_001, content: "hi".into(), room_id: 7, ..Default::default() };
        for dialect in [Dialect::August2025, Dialect::January2024] {
            let asked = packet(PacketCommand::PcSubscribeRoom, room.encode_to_vec());
            let pushed = packet(PacketCommand::PcMessage, message.encode_to_vec());
            let (read, heard) = exchange(dialect, &asked, &pushed);
            assert_eq!((read.command, read.content), (asked.command, asked.content));
            let heard = connect::Message::decode(heard.content).unwrap();
            assert_eq!((heard.command, heard.content), (2_001, message.content.clone()));
        }
        let asked = packet(PacketCommand::PcSubscribeRoom, room.encode_to_vec());
        let mut wire = Vec::new();
        let mut layer = Reworded::new(Dialect::Today, None);
        layer.send(&asked.encode_length_delimited_to_vec(), &mut wire).unwrap();
        assert_eq!(wire, asked.encode_length_delimited_to_vec());
    }
}
