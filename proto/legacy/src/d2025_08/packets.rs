//! The frames of the long connection: `connect.Message` in both directions. Called on a reactor's thread.

use gim_proto::{ResultCode, connect::PacketCommand};

use super::{pushes, wire::connect::Command};
use crate::{
    fields::{Malformed, put_bytes, put_number, visit},
    packets::{self, Packet, Packets, Scratch},
    sign_in,
    today::{Message, Reply},
};

/// The numbers of `connect.Message`, and how each begins.
const REQUEST_ID: u32 = 1;
const COMMAND: u32 = 2;
const CONTENT: u32 = 3;
const SEQ: u32 = 4;
const CREATED_AT: u32 = 5;
const ROOM_ID: u32 = 6;
const CODE: u32 = 100;
const MESSAGE: u32 = 101;

/// What a refused sign-in says behind its sentence: who came to the wrong port has user and device the wrong way round.
const WHOSE_PORT: &[u8] = b"; this port is for clients of 2025-08";

/// See the module.
pub(super) struct Frames;

impl Packets for Frames {
    fn keys(&self) -> &'static [u8] {
        &[0x0a, 0x10, 0x1a, 0x20, 0x28, 0x30]
    }

    fn has_sync(&self) -> bool {
        false
    }

    fn read<'a>(&self, frame: &'a [u8], scratch: &'a mut Scratch) -> Result<Packet<'a>, Malformed> {
        let mut packet = Packet::default();
        visit(frame, |field| {
            match field.tag {
                REQUEST_ID => packet.request_id = field.text()?,
                COMMAND => packet.command = field.number()? as i32,
                CONTENT => packet.content = field.bytes()?,
                SEQ | CREATED_AT | ROOM_ID | CODE => drop(field.number()?),
                MESSAGE => drop(field.text()?),
                _ => {}
            }
            Ok(())
        })?;
        packet.command = match Command::try_from(packet.command) {
            Ok(Command::SignIn) => {
                packet.content = sign_in::todays(packet.content, &mut scratch.content)?;
                PacketCommand::PcSignIn as i32
            }
            Ok(Command::Heartbeat) => PacketCommand::PcHeartbeat as i32,
            Ok(Command::SubscribeRoom) => PacketCommand::PcSubscribeRoom as i32,
            _ => {
                packet.request_id = scratch.unknown(packet.command, packet.request_id);
                packets::UNKNOWN
            }
        };
        Ok(packet)
    }

    fn write(&self, said: &Packet<'_>, frame: &mut Vec<u8>) -> bool {
        match PacketCommand::try_from(said.command) {
            Ok(PacketCommand::PcMessage) => match Message::read(said.content) {
                Ok(message) => pushes::put(frame, &message),
                Err(_) => false,
            },
            Ok(PacketCommand::PcSyncHint) => false,
            Ok(PacketCommand::PcClose) => {
                put_answer(frame, said, Command::Unknown as i32, Reply::of_close(said.content));
                true
            }
            // What is unknown comes back as it was.
            _ if said.command == packets::UNKNOWN => {
                let (command, request_id) = packets::asked_as(said.request_id);
                put_answer(frame, &Packet { request_id, ..*said }, command, Reply::read(said.content));
                true
            }
            Ok(PacketCommand::PcSignIn) => {
                put_answer_to_sign_in(frame, said);
                true
            }
            // Today's numbers of what can be asked are those of the dialect.
            _ => {
                put_answer(frame, said, said.command, Reply::read(said.content));
                true
            }
        }
    }

    fn put_wrong_port(&self, code: ResultCode, sentence: &str, refusal: &mut Vec<u8>) {
        put_number(refusal, CODE, code.number() as u64);
        put_bytes(refusal, MESSAGE, sentence);
    }
}

/// An answer. What is refused says so in today's form, too, for a newer client that came to the wrong port.
fn put_answer(frame: &mut Vec<u8>, said: &Packet<'_>, command: i32, reply: Result<Reply<'_>, Malformed>) {
    let reply = reply.unwrap_or_default();
    put_bytes(frame, REQUEST_ID, said.request_id);
    put_number(frame, COMMAND, command as u64);
    put_bytes(frame, CONTENT, if reply.code == 0 { reply.data } else { said.content });
    put_number(frame, CODE, reply.code as u64);
    put_bytes(frame, MESSAGE, reply.message);
}

fn put_answer_to_sign_in(frame: &mut Vec<u8>, said: &Packet<'_>) {
    let reply = Reply::read(said.content).unwrap_or_default();
    if reply.code != ResultCode::SignInAgain.number() {
        return put_answer(frame, said, said.command, Ok(reply));
    }
    let message = [reply.message, WHOSE_PORT].concat();
    let reply = Reply { message: &message, ..reply };
    let mut content = Vec::new();
    put_number(&mut content, 1, reply.code as u64);
    put_bytes(&mut content, 2, reply.message);
    put_answer(frame, &Packet { content: &content, ..*said }, said.command, Ok(reply));
}
