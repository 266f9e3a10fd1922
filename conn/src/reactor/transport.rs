//! From the bytes of a socket, through the layers of its connection, to packets: the header of a proxy, TLS, WebSocket.
//! Plain TCP goes straight from `read` to `feed` and passes by here.

use std::net::SocketAddr;

use gim_proto::CloseReason;

use super::Reactor;
use crate::{
    connection::Ending,
    session::ControlVerdict,
    wire::{
        frame::Step,
        intake::{Decode, Fed, Flow},
        proxy::{self, Proxied},
        tls::Received,
        transport::Web,
        ws::{
            Violation, close,
            frames::{self, Event, Unfinished},
            upgrade::{self, Opening, Upgrade},
        },
    },
};

impl Reactor {
    /// Takes bytes that were read. False where the connection takes no more for now.
    pub(super) fn take(&mut self, slot: usize, bytes: &mut [u8], frames_left: &mut usize) -> bool {
        let Some(connection) = self.table.get(slot) else { return false };
        match &connection.transport {
            None => self.feed(slot, bytes, frames_left),
            Some(transport) if transport.expects_proxy => self.take_proxied(slot, bytes, frames_left),
            Some(transport) if transport.tls.is_some() => self.take_sealed(slot, bytes, frames_left),
            Some(_) => self.take_plain(slot, bytes, frames_left),
        }
    }

    /// Takes plain bytes: of WebSocket, or what is inside of TLS. Also called with none, for what is left from before.
    pub(super) fn take_plain(&mut self, slot: usize, bytes: &[u8], frames_left: &mut usize) -> bool {
        let Some(connection) = self.table.get(slot) else { return false };
        match connection.transport.as_ref().map_or(Web::None, |transport| transport.web) {
            // What came of the header of a proxy waits in the same place.
            _ if connection.transport.as_ref().is_some_and(|transport| transport.expects_proxy) => true,
            Web::None => self.feed(slot, bytes, frames_left),
            Web::Opening if bytes.is_empty() => true,
            Web::Opening => self.open_web(slot, bytes, frames_left),
            Web::Open => self.feed_web(slot, bytes, frames_left),
        }
    }

    /// Whether a TLS handshake has to wait for the next turn, so that a storm of them holds up nobody.
    pub(super) fn must_defer(&mut self, slot: usize) -> bool {
        let transport = self.table.peek(slot).and_then(|connection| connection.transport.as_ref());
        let is_deferred = self.handshake_steps_left == 0 && transport.is_some_and(|transport| transport.in_handshake);
        self.metrics.counts.handshakes_deferred += u64::from(is_deferred);
        is_deferred
    }

    fn take_proxied(&mut self, slot: usize, bytes: &mut [u8], frames_left: &mut usize) -> bool {
        let Some(connection) = self.table.get(slot) else { return false };
        connection.intake.append(bytes);
        let (consumed, client) = match proxy::read(connection.intake.tail()) {
            Proxied::NeedMore => return true,
            Proxied::Absent => (0, None),
            Proxied::Header { consumed, client } => (consumed, client),
            Proxied::Bad => {
                self.close(slot, CloseReason::CrBadFrame);
                return false;
            }
        };
        let mut rest = connection.intake.tail()[consumed..].to_vec();
        connection.intake.clear();
        if let Some(transport) = &mut connection.transport {
            transport.expects_proxy = false;
        }
        if let Some(client) = client
            && !self.adopt_client(slot, client)
        {
            return false;
        }
        if let Some(connection) = self.table.get(slot)
            && connection.transport.as_ref().is_some_and(|transport| !transport.is_needed())
        {
            connection.transport = None;
        }
        rest.is_empty() || self.take(slot, &mut rest, frames_left)
    }

    fn take_sealed(&mut self, slot: usize, bytes: &mut [u8], frames_left: &mut usize) -> bool {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let received = self.unseal(slot, bytes, &mut plain);
        let goes_on = match received {
            Some(Ok(received)) => {
                let goes_on = plain.is_empty() || self.take_plain(slot, &plain, frames_left);
                if received == Received::End {
                    self.close(slot, CloseReason::CrPeerClosed);
                }
                goes_on && received == Received::More
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a TLS connection failed");
                self.metrics.counts.handshakes_failed += 1;
                self.close(slot, CloseReason::CrBadFrame);
                false
            }
            None => false,
        };
        self.plain = plain;
        goes_on
    }

    fn unseal(
        &mut self,
        slot: usize,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> Option<Result<Received, rustls::Error>> {
        let transport = self.table.get(slot)?.transport.as_mut()?;
        let tls = transport.tls.as_mut()?;
        let received = tls.receive(bytes, plain);
        let (has_output, is_open) = (!tls.unsent().is_empty(), tls.is_open());
        if transport.in_handshake {
            self.handshake_steps_left = self.handshake_steps_left.saturating_sub(1);
            if is_open {
                transport.in_handshake = false;
                self.handshakes -= 1;
                self.metrics.counts.handshakes += 1;
                self.reschedule(slot);
            }
        }
        if has_output {
            self.mark_dirty(slot);
        }
        Some(received)
    }

    /// Waits for the request that makes the connection a WebSocket.
    fn open_web(&mut self, slot: usize, bytes: &[u8], frames_left: &mut usize) -> bool {
        let Some(connection) = self.table.get(slot) else { return false };
        connection.intake.append(bytes);
        let peer = connection.client_address().map(|address| address.ip());
        match upgrade::read(connection.intake.tail(), peer, &self.site) {
            Opening::NeedMore => true,
            Opening::Upgrade(upgrade) => self.upgrade(slot, upgrade, frames_left),
            Opening::Answer { response, is_fine } => {
                let reason = if is_fine { CloseReason::CrPeerClosed } else { CloseReason::CrBadFrame };
                self.close_answering(slot, reason, response.into());
                false
            }
        }
    }

    fn upgrade(&mut self, slot: usize, upgrade: Upgrade, frames_left: &mut usize) -> bool {
        let Upgrade { consumed, response, sign_in, client } = upgrade;
        if let Some(client) = client
            && !self.adopt_client(slot, SocketAddr::new(client, 0))
        {
            return false;
        }
        let Some(connection) = self.table.get(slot) else { return false };
        connection.intake.consume(consumed);
        if let Some(transport) = &mut connection.transport {
            transport.web = Web::Open;
        }
        self.metrics.counts.upgrades += 1;
        self.reschedule(slot);
        self.send_raw(slot, response.into());
        if let Some(packet) = sign_in
            && self.on_frame(slot, &packet) == Flow::Stop
        {
            return false;
        }
        self.feed_web(slot, &[], frames_left)
    }

    /// Decodes WebSocket frames and handles their messages. False where it stopped before the input's end.
    fn feed_web(&mut self, slot: usize, bytes: &[u8], frames_left: &mut usize) -> bool {
        let Some(connection) = self.table.get(slot) else { return false };
        let mut intake = std::mem::take(&mut connection.intake);
        if bytes.is_empty() && intake.tail_bytes() == 0 {
            return true;
        }
        let message_bytes_max = connection.session.frame_bytes_max(&self.rules);
        let unfinished = connection.transport.as_mut().and_then(|transport| transport.unfinished.take());
        let unmasked = std::mem::take(&mut self.unmasked);
        let mut decoder = Messages { reactor: self, slot, frames_left, message_bytes_max, unfinished, unmasked };
        let fed = intake.feed_to(bytes, &mut decoder);
        let Messages { unfinished, unmasked, .. } = decoder;
        self.unmasked = unmasked;
        if let Some(connection) = self.table.get(slot)
            && connection.flags.ending == Ending::None
        {
            connection.intake = intake;
            if let Some(transport) = &mut connection.transport {
                transport.unfinished = unfinished;
            }
        }
        match fed {
            Fed::Drained => true,
            Fed::Stopped => false,
            Fed::Bad(violation) => {
                tracing::debug!(%violation, "a WebSocket broke the rules");
                self.close_coded(slot, violation.reason(), "", Some(violation.code()));
                false
            }
        }
    }

    fn on_event(&mut self, slot: usize, event: &Event<'_>) -> Result<Flow, Violation> {
        match event {
            Event::Message(packet) => return Ok(self.on_frame(slot, packet)),
            Event::Nothing => self.on_control(slot, None),
            Event::Ping(payload) => self.on_control(slot, Some(payload)),
            Event::Close(payload) => {
                let answer = close::answer(payload)?;
                self.close_answering(slot, CloseReason::CrPeerClosed, answer.into());
            }
        }
        let goes_on = self.table.get(slot).is_some_and(|connection| connection.flags.ending == Ending::None);
        Ok(if goes_on { Flow::Continue } else { Flow::Stop })
    }

    /// A frame that is no message, and what it asks to have repeated.
    fn on_control(&mut self, slot: usize, ping: Option<&[u8]>) {
        let (now_ms, rules) = (self.now_ms, self.rules);
        let Some(connection) = self.table.get(slot) else { return };
        match (connection.session.on_control(now_ms, &rules), ping) {
            (ControlVerdict::Answer, Some(payload)) => self.send_raw(slot, close::pong(payload).into()),
            (ControlVerdict::Answer | ControlVerdict::Ignore, _) => {}
            (ControlVerdict::Close(reason), _) => self.close(slot, reason),
        }
    }

    /// A proxy told who the client is: the connection counts as the client's from now on. False where that has them all.
    fn adopt_client(&mut self, slot: usize, client: SocketAddr) -> bool {
        let Some(connection) = self.table.get(slot) else { return false };
        let Some(ip_slot) = self.quota.readdress(connection.ip_slot, client.ip()) else {
            self.close(slot, CloseReason::CrServerOverloaded);
            return false;
        };
        connection.ip_slot = ip_slot;
        if let Some(transport) = &mut connection.transport {
            transport.client = Some(Box::new(client));
        }
        true
    }
}

/// Decodes the WebSocket frames of one connection, for as long as one read lasts.
struct Messages<'a> {
    reactor: &'a mut Reactor,
    slot: usize,
    frames_left: &'a mut usize,
    message_bytes_max: usize,
    unfinished: Unfinished,
    unmasked: Vec<u8>,
}

impl Decode for Messages<'_> {
    type Error = Violation;

    fn next(&self, input: &[u8]) -> Step<Violation> {
        frames::next(input, &self.unfinished, self.message_bytes_max)
    }

    fn take(&mut self, frame: &[u8]) -> Result<Flow, Violation> {
        *self.frames_left -= 1;
        let event = frames::take(frame, &mut self.unfinished, &mut self.unmasked)?;
        let flow = self.reactor.on_event(self.slot, &event)?;
        Ok(if *self.frames_left == 0 { Flow::Stop } else { flow })
    }
}
