//! `Input` and `Output`, in which older clients speak until 2024: what the dialects of that time have in common. Called on a reactor's thread.
//!
//! ```text
//!   Input   type = 1   request_id = 2   data = 3
//!   Output  type = 1   request_id = 2   code = 3   message = 4   data = 5
//! ```

use gim_proto::{ResultCode, connect::PacketCommand};

use crate::{
    fields::{Malformed, put_bytes, put_content, put_message, put_number, visit},
    packets::{self, Packet, Packets, Scratch},
    sign_in,
    today::{Message, Reply},
};

/// The types of packages.
const UNKNOWN: i32 = 0;
const SIGN_IN: i32 = 1;
const SYNC: i32 = 2;
const HEARTBEAT: i32 = 3;
const MESSAGE: i32 = 4;
const SUBSCRIBE_ROOM: i32 = 5;

/// The numbers of `Input` and `Output`.
const TYPE: u32 = 1;
const REQUEST_ID: u32 = 2;
const INPUT_DATA: u32 = 3;
const CODE: u32 = 3;
const TEXT: u32 = 4;
const DATA: u32 = 5;

/// What tells the dialects of that time apart.
pub(crate) struct InputOutput {
    /// Whether there are rooms.
    pub has_rooms: bool,
    /// Appends a message, as it is synced. False, and nothing is appended, where there is no word for it.
    pub put_message: fn(&mut Vec<u8>, &Message<'_>) -> bool,
    /// Whether a message that is pushed stands in another one (`MessageSend`).
    pub is_push_wrapped: bool,
}

impl Packets for InputOutput {
    fn keys(&self) -> &'static [u8] {
        &[0x08, 0x10, 0x1a]
    }

    fn has_sync(&self) -> bool {
        true
    }

    fn read<'a>(&self, frame: &'a [u8], scratch: &'a mut Scratch) -> Result<Packet<'a>, Malformed> {
        let (mut package_type, mut request_id, mut data) = (UNKNOWN, 0, &b""[..]);
        visit(frame, |field| {
            match field.tag {
                TYPE => package_type = field.number()? as i32,
                REQUEST_ID => request_id = field.number()? as i64,
                INPUT_DATA => data = field.bytes()?,
                _ => {}
            }
            Ok(())
        })?;
        if !(SIGN_IN..=if self.has_rooms { SUBSCRIBE_ROOM } else { MESSAGE }).contains(&package_type) {
            let request_id = scratch.unknown(package_type, request_id);
            return Ok(Packet { request_id, command: packets::UNKNOWN, content: data });
        }
        let Scratch { request_id: text, content } = scratch;
        text.clear();
        let mut packet = Packet { request_id: "", command: 0, content: data };
        match package_type {
            SIGN_IN => {
                packet.command = PacketCommand::PcSignIn as i32;
                packet.content = sign_in::todays(data, content)?;
            }
            SYNC => packet.command = PacketCommand::PcSync as i32,
            HEARTBEAT => packet.command = PacketCommand::PcHeartbeat as i32,
            MESSAGE => {
                packet.command = PacketCommand::PcMessageAck as i32;
                packet.content = ack(data, content);
                // It is not answered.
                return Ok(packet);
            }
            _ => packet.command = PacketCommand::PcSubscribeRoom as i32,
        }
        if request_id != 0 {
            put_decimal(text, request_id);
        }
        Ok(Packet { request_id: text, ..packet })
    }

    fn write(&self, said: &Packet<'_>, frame: &mut Vec<u8>) -> bool {
        let mut request_id = said.request_id;
        let package_type = match PacketCommand::try_from(said.command) {
            Ok(PacketCommand::PcMessage) => return self.put_push(frame, said.content),
            Ok(PacketCommand::PcSyncHint) => {
                put_number(frame, TYPE, SYNC as u64);
                // An empty page that is not the last one: clients ask for the next.
                put_message(frame, DATA, |out| put_number(out, 2, 1));
                return true;
            }
            Ok(PacketCommand::PcClose) => {
                put_output(frame, UNKNOWN, "", &Reply::of_close(said.content).unwrap_or_default(), |_| {});
                return true;
            }
            Ok(PacketCommand::PcSignIn) => SIGN_IN,
            Ok(PacketCommand::PcSync) => SYNC,
            Ok(PacketCommand::PcHeartbeat) => HEARTBEAT,
            Ok(PacketCommand::PcMessageAck) => MESSAGE,
            Ok(PacketCommand::PcSubscribeRoom) => SUBSCRIBE_ROOM,
            _ => {
                let package_type;
                (package_type, request_id) = packets::asked_as(request_id);
                package_type
            }
        };
        let reply = Reply::read(said.content).unwrap_or_default();
        let before = frame.len();
        let mut is_whole = Ok(());
        put_output(frame, package_type, request_id, &reply, |out| match package_type {
            SYNC => is_whole = self.put_page(out, reply.data),
            _ => out.extend_from_slice(reply.data),
        });
        if is_whole.is_err() {
            // A page with a gap would be taken for the inbox.
            frame.truncate(before);
            let reply = Reply { code: ResultCode::Internal.number(), ..Reply::default() };
            put_output(frame, package_type, request_id, &reply, |_| {});
        }
        true
    }
}

impl InputOutput {
    fn put_push(&self, frame: &mut Vec<u8>, content: &[u8]) -> bool {
        let Ok(message) = Message::read(content) else { return false };
        let before = frame.len();
        let mut is_said = false;
        put_number(frame, TYPE, MESSAGE as u64);
        put_message(frame, DATA, |out| {
            if self.is_push_wrapped {
                put_message(out, 1, |out| is_said = (self.put_message)(out, &message));
            } else {
                is_said = (self.put_message)(out, &message);
            }
        });
        if !is_said {
            frame.truncate(before);
        }
        is_said
    }

    /// A page of the inbox. What is stored is always told, as it has a seq.
    fn put_page(&self, out: &mut Vec<u8>, page: &[u8]) -> Result<(), Malformed> {
        visit(page, |field| {
            match field.tag {
                1 => {
                    let message = Message::read(field.bytes()?)?;
                    put_message(out, 1, |out| {
                        let _always_said = (self.put_message)(out, &message);
                    });
                }
                2 => put_number(out, 2, field.number()?),
                _ => {}
            }
            Ok(())
        })
    }
}

fn put_output(
    frame: &mut Vec<u8>,
    package_type: i32,
    request_id: &str,
    reply: &Reply<'_>,
    put_data: impl FnOnce(&mut Vec<u8>),
) {
    put_number(frame, TYPE, package_type as u64);
    put_number(frame, REQUEST_ID, request_id.parse::<i64>().unwrap_or_default() as u64);
    put_number(frame, CODE, reply.code as u64);
    put_bytes(frame, TEXT, reply.message);
    if reply.code == 0 {
        put_content(frame, DATA, put_data);
    }
}

/// `MessageACK` as today's.
fn ack<'a>(data: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let mut device_ack = 0;
    let read = visit(data, |field| {
        if field.tag == 2 {
            device_ack = field.number()?;
        }
        Ok(())
    });
    if read.is_err() {
        return data;
    }
    scratch.clear();
    put_number(scratch, 1, device_ack);
    scratch
}

/// Without the allocation of `to_string`.
fn put_decimal(text: &mut String, number: i64) {
    use std::fmt::Write as _;
    write!(text, "{number}").expect("a String takes everything");
}
