//! WebSocket, as a client of the swarm speaks it: a masked binary message per frame. Without IO.

use std::io::Cursor;

use tungstenite::{
    handshake::{client::generate_key, derive_accept_key},
    protocol::frame::{
        FrameHeader,
        coding::{Control, Data, OpCode},
    },
};

use super::{
    packet::split_frame,
    transport::{TransportError, TransportLayer},
};

/// A client has to mask; what with is of no interest to a server under load.
const MASK: [u8; 4] = [0x17, 0x2a, 0x3b, 0x4c];

/// One client's layer.
#[derive(Debug)]
pub(super) struct WebSocket {
    request: Box<str>,
    accept: Box<str>,
    is_open: bool,
    /// The beginning of what is not whole.
    tail: Vec<u8>,
}

impl WebSocket {
    /// A layer that asks `host` for `path`.
    pub(super) fn new(host: &str, path: &str) -> Self {
        let key = generate_key();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        Self {
            request: request.into(),
            accept: derive_accept_key(key.as_bytes()).into(),
            is_open: false,
            tail: Vec::new(),
        }
    }

    /// A layer at a baseline's door, where messages come at once.
    pub(super) fn opened() -> Self {
        Self { request: Box::default(), accept: Box::default(), is_open: true, tail: Vec::new() }
    }

    /// Returns how many bytes of the answer are done with.
    fn read_answer(&mut self, bytes: &[u8]) -> Result<usize, TransportError> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(0) };
        let answer = String::from_utf8_lossy(&bytes[..end]);
        if !answer.starts_with("HTTP/1.1 101 ") || !answer.contains(&*self.accept) {
            let status = answer.lines().next().unwrap_or_default();
            return Err(TransportError(format!("the server did not open a WebSocket: {status}")));
        }
        self.is_open = true;
        (self.request, self.accept) = Default::default();
        Ok(end + 4)
    }
}

impl TransportLayer for WebSocket {
    fn open(&mut self, out: &mut Vec<u8>) -> Result<(), TransportError> {
        out.extend_from_slice(self.request.as_bytes());
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.is_open
    }

    fn send(&mut self, mut frames: &[u8], out: &mut Vec<u8>) -> Result<(), TransportError> {
        while let Ok(Some((body, rest))) = split_frame(frames) {
            put_frame(OpCode::Data(Data::Binary), body, out)?;
            frames = rest;
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &[u8], frames: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), TransportError> {
        let mut tail = std::mem::take(&mut self.tail);
        let input = if tail.is_empty() {
            bytes
        } else {
            tail.extend_from_slice(bytes);
            &tail
        };
        let start = if self.is_open { 0 } else { self.read_answer(input)? };
        let mut rest = &input[start..];
        while self.is_open
            && let Some((header, payload, after)) = split_message(rest)?
        {
            match header.opcode {
                OpCode::Data(Data::Binary) if header.is_final => {
                    prost::encode_length_delimiter(payload.len(), frames)
                        .map_err(|error| TransportError(error.to_string()))?;
                    frames.extend_from_slice(payload);
                }
                OpCode::Control(Control::Ping) => put_frame(OpCode::Control(Control::Pong), payload, out)?,
                // What a close has to say stands in the packet before it; the end of the connection follows.
                OpCode::Control(_) => {}
                OpCode::Data(_) => {
                    return Err(TransportError("the server sent something else than whole messages".into()));
                }
            }
            rest = after;
        }
        self.tail = rest.to_vec();
        Ok(())
    }
}

/// What a server writes for a frame: a message that is not masked.
pub(super) fn message_of(frame: &[u8]) -> Result<Vec<u8>, TransportError> {
    let mut message = Vec::with_capacity(frame.len() + 8);
    if let Ok(Some((body, _))) = split_frame(frame) {
        let header = FrameHeader { opcode: OpCode::Data(Data::Binary), ..FrameHeader::default() };
        header.format(body.len() as u64, &mut message).map_err(|error| TransportError(error.to_string()))?;
        message.extend_from_slice(body);
    }
    Ok(message)
}

/// A WebSocket frame's header and payload, and the bytes behind it.
type Split<'a> = (FrameHeader, &'a [u8], &'a [u8]);

/// The first WebSocket frame; nothing while it is incomplete.
fn split_message(bytes: &[u8]) -> Result<Option<Split<'_>>, TransportError> {
    let mut cursor = Cursor::new(bytes);
    let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(|error| TransportError(error.to_string()))?
    else {
        return Ok(None);
    };
    let body = &bytes[cursor.position() as usize..];
    let split = usize::try_from(length).ok().and_then(|length| body.split_at_checked(length));
    Ok(split.map(|(payload, after)| (header, payload, after)))
}

fn put_frame(opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) -> Result<(), TransportError> {
    let header = FrameHeader { opcode, mask: Some(MASK), ..FrameHeader::default() };
    header.format(payload.len() as u64, out).map_err(|error| TransportError(error.to_string()))?;
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> WebSocket {
        let mut layer = WebSocket::new("host", "/ws");
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {}\r\n\r\n", layer.accept);
        let (mut frames, mut out) = (Vec::new(), Vec::new());
        for piece in answer.as_bytes().chunks(7) {
            layer.receive(piece, &mut frames, &mut out).unwrap();
        }
        assert!(layer.is_open() && frames.is_empty() && out.is_empty());
        layer
    }

    #[test]
    fn what_a_baseline_writes_is_read_without_a_handshake() {
        let frame = [&[0xc8, 0x01][..], &[7; 200]].concat();
        let message = message_of(&frame).unwrap();
        let (mut frames, mut out) = (Vec::new(), Vec::new());
        WebSocket::opened().receive(&message, &mut frames, &mut out).unwrap();
        assert_eq!((frames, out.len()), (frame, 0));
    }

    #[test]
    fn frames_travel_as_masked_messages_and_come_back_as_frames_cut_anywhere() {
        let mut layer = opened();
        let frames = [&[3][..], b"abc", &[0], &[0xc8, 0x01], &[7; 200]].concat();
        let mut sent = Vec::new();
        layer.send(&frames, &mut sent).unwrap();
        // A server's answer: the same messages without their masks.
        let mut answer = vec![0x82, 3];
        answer.extend(b"abc");
        answer.extend([0x82, 0, 0x89, 1, 9, 0x82, 126, 0, 200]);
        answer.extend([7; 200]);
        assert_eq!(sent.len(), answer.len() - 3 + 3 * 4);
        for cut in 0..answer.len() {
            let mut layer = opened();
            let (mut received, mut out) = (Vec::new(), Vec::new());
            layer.receive(&answer[..cut], &mut received, &mut out).unwrap();
            layer.receive(&answer[cut..], &mut received, &mut out).unwrap();
            assert_eq!(received, frames, "cut at {cut}");
            assert_eq!(out[..2], [0x8a, 0x81], "the ping is answered");
            assert!(layer.tail.is_empty());
        }
    }

    #[test]
    fn another_answer_is_told() {
        let mut layer = WebSocket::new("host", "/ws");
        let answer = b"HTTP/1.1 403 Forbidden\r\n\r\n";
        let error = layer.receive(answer, &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "the server did not open a WebSocket: HTTP/1.1 403 Forbidden");
    }
}
