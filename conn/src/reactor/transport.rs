//! From the bytes of a socket, through the layers of its connection, to packets: the header of a proxy, TLS, WebSocket.
//! Plain TCP goes straight from `read` to `feed` and passes by here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use gim_proto::CloseReason;

use super::{Reactor, peer::Peer};
use crate::{
    quota,
    session::{ControlVerdict, Session},
    wire::{
        frame::Step,
        intake::{Decode, Fed, Flow},
        packet::{self, PacketView},
        proxy::{self, Problem, Proxied},
        tls::Received,
        transport::{Entrance, Handshake, Web},
        ws::{
            Violation, close,
            frames::{self, Event, Unfinished},
            upgrade::{self, Opening, Upgrade},
        },
    },
};

impl Reactor {
    /// Gives the places that became free to connections that wait for one.
    pub(super) fn grant_handshakes(&mut self) {
        while let Some(next) = self.context.handshakes.next() {
            match self.owner(next.slot, next.generation) {
                Some(mut peer) if peer.goes_on() && peer.connection.awaits_handshake() => {
                    peer.grant_handshake(next.address)
                }
                _ => self.context.handshakes.end(next.address),
            }
        }
    }
}

impl Peer<'_> {
    /// Its time begins anew: it could do nothing until now.
    fn grant_handshake(&mut self, address: IpAddr) {
        self.connection.session = Session::new(self.context.clock.now_ms(), &self.context.rules);
        self.reschedule();
        if let Some(transport) = &mut self.connection.transport {
            transport.handshake = Handshake::Granted(address);
        }
        self.serve_next_turn();
    }

    /// Takes bytes that were read. False where the connection takes no more for now.
    pub(super) fn take(&mut self, bytes: &mut [u8], frames_left: &mut usize) -> bool {
        match &self.connection.transport {
            None => self.feed(bytes, frames_left),
            Some(transport) if transport.expects_proxy => self.take_proxied(bytes, frames_left),
            Some(transport) if transport.tls.is_some() => self.take_sealed(bytes, frames_left),
            Some(_) => self.take_plain(bytes, frames_left),
        }
    }

    /// Takes plain bytes: of WebSocket, or what is inside of TLS. Also called with none, for what is left from before.
    pub(super) fn take_plain(&mut self, bytes: &[u8], frames_left: &mut usize) -> bool {
        let Some(transport) = &self.connection.transport else { return self.feed(bytes, frames_left) };
        match transport.web {
            // What came of the header of a proxy waits in the same place.
            _ if transport.expects_proxy => true,
            Web::None => self.feed(bytes, frames_left),
            Web::Opening if bytes.is_empty() => true,
            Web::Opening => self.open_web(bytes, frames_left),
            Web::Open => self.feed_web(bytes, frames_left),
        }
    }

    /// Whether a TLS handshake has to wait for the next turn, so that a storm of them holds up nobody.
    pub(super) fn must_defer(&mut self) -> bool {
        let in_handshake = self.connection.transport.as_ref().is_some_and(|transport| transport.in_handshake());
        let is_deferred = in_handshake && !self.context.handshakes.has_steps_left();
        self.context.metrics.counts.handshakes_deferred += u64::from(is_deferred);
        is_deferred
    }

    fn take_proxied(&mut self, bytes: &mut [u8], frames_left: &mut usize) -> bool {
        let keys = self.connection.dialect.map_or(&packet::KEYS[..], |dialect| dialect.packets().keys());
        let intake = &mut self.connection.intake;
        intake.append(bytes);
        let entrance = Entrance::of(self.connection.transport.as_deref());
        let (consumed, client) = match (proxy::read(intake.tail()), entrance) {
            (Proxied::NeedMore, _) => return true,
            (Proxied::Header { consumed, client }, _) => (consumed, client),
            (Proxied::Bad, _) => return self.refuse_proxy(),
            // A request may name the client yet.
            (Proxied::Absent, Entrance::WebSocket | Entrance::WebSocketTls) => (0, None),
            (Proxied::Absent, Entrance::Tls) => {
                self.name_proxy(Problem::Silent);
                (0, None)
            }
            (Proxied::Absent, Entrance::Tcp) => match packet::may_begin(intake.tail(), keys) {
                None => return true,
                Some(false) => return self.refuse_proxy(),
                Some(true) => {
                    self.name_proxy(Problem::Silent);
                    (0, None)
                }
            },
        };
        let intake = &mut self.connection.intake;
        let mut rest = intake.tail()[consumed..].to_vec();
        intake.clear();
        if let Some(transport) = &mut self.connection.transport {
            transport.expects_proxy = false;
        }
        if let Some(client) = client
            && !self.adopt_client(client)
        {
            return false;
        }
        if self.connection.transport.as_ref().is_some_and(|transport| !transport.is_needed()) {
            self.connection.transport = None;
        }
        rest.is_empty() || self.take(&mut rest, frames_left)
    }

    /// Ends what begins as no client of a proxy does.
    fn refuse_proxy(&mut self) -> bool {
        self.name_proxy(Problem::Broken);
        self.close(CloseReason::CrBadFrame);
        false
    }

    /// Says what is wrong with a listed proxy, once for all its connections.
    fn name_proxy(&self, problem: Problem) {
        let Ok(peer) = self.connection.stream.peer_addr() else { return };
        let proxy = peer.ip().to_canonical();
        if !self.context.site.proxies.contains(proxy) || !self.context.site.named_proxies.is_news(proxy, problem) {
            return;
        }
        match problem {
            Problem::Broken => tracing::warn!(
                %proxy,
                "a connection of a listed proxy is closed, as will be others like it: it begins neither with a PROXY header of \
                 version 1 or 2 nor as a client does"
            ),
            Problem::Silent => tracing::warn!(
                %proxy,
                "a listed proxy does not tell who its client is, so its connections count as its own: let it send the PROXY \
                 protocol (nginx: proxy_protocol on) or X-Forwarded-For, or take it off the list"
            ),
        }
    }

    /// What came before there was a place for the handshake. False where the connection takes no more for now.
    pub(super) fn take_kept_handshake(&mut self, frames_left: &mut usize) -> bool {
        let handshake = self.connection.transport.as_ref().map(|transport| transport.handshake);
        !matches!(handshake, Some(Handshake::Granted(_))) || self.take_sealed(&mut [], frames_left)
    }

    /// Whether the handshake may go on, or is over. Where it has to wait for a place, its bytes are kept.
    fn may_unseal(&mut self, bytes: &[u8]) -> bool {
        let handshake = self.connection.transport.as_ref().map_or(Handshake::None, |transport| transport.handshake);
        let (next, may) = match handshake {
            Handshake::None | Handshake::UnderWay(_) => return true,
            Handshake::Granted(address) => (Handshake::UnderWay(address), true),
            Handshake::Waiting => (Handshake::Waiting, false),
            Handshake::Silent => {
                let client = self.connection.client_address();
                let address = quota::holder_of(client.map_or(Ipv4Addr::UNSPECIFIED.into(), |client| client.ip()));
                let may = self.context.handshakes.ask(address, self.slot, self.connection.generation);
                self.context.metrics.counts.handshakes_waited += u64::from(!may);
                (if may { Handshake::UnderWay(address) } else { Handshake::Waiting }, may)
            }
        };
        if let Some(transport) = &mut self.connection.transport {
            transport.handshake = next;
            if !may && let Some(tls) = &mut transport.tls {
                tls.keep_received(bytes);
            }
        }
        may
    }

    fn take_sealed(&mut self, bytes: &mut [u8], frames_left: &mut usize) -> bool {
        if !self.may_unseal(bytes) {
            return false;
        }
        let mut plain = std::mem::take(&mut self.context.reader.plain);
        plain.clear();
        let goes_on = match self.unseal(bytes, &mut plain) {
            Some(Ok(received)) => {
                let goes_on = plain.is_empty() || self.take_plain(&plain, frames_left);
                if received == Received::End {
                    self.close(CloseReason::CrPeerClosed);
                }
                goes_on && received == Received::More
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a TLS connection failed");
                self.context.metrics.counts.handshakes_failed += 1;
                self.close(CloseReason::CrBadFrame);
                false
            }
            None => false,
        };
        self.context.reader.plain = plain;
        goes_on
    }

    fn unseal(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Option<Result<Received, rustls::Error>> {
        let transport = self.connection.transport.as_mut()?;
        let tls = transport.tls.as_mut()?;
        let received = tls.receive(bytes, plain);
        let (has_output, is_open) = (!tls.unsent().is_empty(), tls.is_open());
        if let Handshake::UnderWay(address) = transport.handshake {
            self.context.handshakes.count_step();
            if is_open {
                transport.handshake = Handshake::None;
                self.context.handshakes.end(address);
                self.context.metrics.counts.handshakes += 1;
                self.reschedule();
            }
        }
        if has_output {
            self.mark_dirty();
        }
        Some(received)
    }

    /// Waits for the request that makes the connection a WebSocket.
    fn open_web(&mut self, bytes: &[u8], frames_left: &mut usize) -> bool {
        self.connection.intake.append(bytes);
        let client = self.connection.client_address().map(|address| address.ip());
        let is_older = self.connection.dialect.is_some();
        match upgrade::read(self.connection.intake.tail(), client, &self.context.site, is_older) {
            Opening::NeedMore => true,
            Opening::Upgrade(upgrade) => self.upgrade(upgrade, frames_left),
            Opening::Answer { response, is_fine } => {
                let reason = if is_fine { CloseReason::CrPeerClosed } else { CloseReason::CrBadFrame };
                self.close_answering(reason, response.into());
                false
            }
        }
    }

    fn upgrade(&mut self, upgrade: Upgrade, frames_left: &mut usize) -> bool {
        let Upgrade { consumed, response, sign_in, client } = upgrade;
        if client.is_none() && self.connection.transport.as_ref().is_some_and(|transport| transport.client.is_none()) {
            self.name_proxy(Problem::Silent);
        }
        if let Some(client) = client
            && !self.adopt_client(SocketAddr::new(client, 0))
        {
            return false;
        }
        self.connection.intake.consume(consumed);
        if let Some(transport) = &mut self.connection.transport {
            transport.web = Web::Open;
        }
        self.context.metrics.counts.upgrades += 1;
        self.reschedule();
        self.send_raw(response.into());
        // It is today's packet, whatever the client speaks.
        if let Some(packet) = sign_in {
            self.context.metrics.of_client(self.connection.dialect).packets_in += 1;
            let flow = PacketView::decode(&packet).map_or(Flow::Stop, |packet| self.on_packet(&packet));
            if flow == Flow::Stop {
                return false;
            }
        }
        self.feed_web(&[], frames_left)
    }

    /// Decodes WebSocket frames and handles their messages. False where it stopped before the input's end.
    fn feed_web(&mut self, bytes: &[u8], frames_left: &mut usize) -> bool {
        if bytes.is_empty() && self.connection.intake.tail_bytes() == 0 {
            return true;
        }
        let mut intake = std::mem::take(&mut self.connection.intake);
        let message_bytes_max = self.connection.session.frame_bytes_max(&self.context.rules);
        let unfinished = self.connection.transport.as_mut().and_then(|transport| transport.unfinished.take());
        let unmasked = std::mem::take(&mut self.context.reader.unmasked);
        let mut decoder = Messages { peer: self, frames_left, message_bytes_max, unfinished, unmasked };
        let fed = intake.feed_to(bytes, &mut decoder);
        let Messages { unfinished, unmasked, .. } = decoder;
        self.context.reader.unmasked = unmasked;
        if self.goes_on() {
            self.connection.intake = intake;
            if let Some(transport) = &mut self.connection.transport {
                transport.unfinished = unfinished;
            }
        }
        match fed {
            Fed::Drained => true,
            Fed::Stopped => false,
            Fed::Bad(violation) => {
                tracing::debug!(%violation, "a WebSocket broke the rules");
                self.close_coded(violation.reason(), "", Some(violation.code()));
                false
            }
        }
    }

    fn on_event(&mut self, event: &Event<'_>) -> Result<Flow, Violation> {
        match event {
            Event::Message(packet) => return Ok(self.on_frame(packet)),
            Event::Nothing => self.on_control(None),
            Event::Ping(payload) => self.on_control(Some(payload)),
            Event::Close(payload) => {
                let answer = close::answer(payload)?;
                self.close_answering(CloseReason::CrPeerClosed, answer.into());
            }
        }
        Ok(if self.goes_on() { Flow::Continue } else { Flow::Stop })
    }

    /// A frame that is no message, and what it asks to have repeated.
    fn on_control(&mut self, ping: Option<&[u8]>) {
        let now_ms = self.context.clock.now_ms();
        match (self.connection.session.on_control(now_ms, &self.context.rules), ping) {
            (ControlVerdict::Answer, Some(payload)) => self.send_raw(close::pong(payload).into()),
            (ControlVerdict::Answer | ControlVerdict::Ignore, _) => {}
            (ControlVerdict::Close(reason), _) => self.close(reason),
        }
    }

    /// A proxy told who the client is: the connection counts as the client's from now on. False where that has them all.
    fn adopt_client(&mut self, client: SocketAddr) -> bool {
        if let Some(transport) = &mut self.connection.transport {
            transport.client = Some(Box::new(client));
        }
        match self.context.quota.readdress(self.connection.ip_slot, client.ip()) {
            Ok(ip_slot) => self.connection.ip_slot = ip_slot,
            Err(full) => {
                self.report_full(client.ip());
                self.close(full.into());
                return false;
            }
        }
        self.context.unsigned.add(self.slot, quota::holder_of(client.ip()));
        true
    }
}

/// Decodes the WebSocket frames of one connection, for as long as one read lasts.
struct Messages<'a, 'b> {
    peer: &'a mut Peer<'b>,
    frames_left: &'a mut usize,
    message_bytes_max: usize,
    unfinished: Unfinished,
    unmasked: Vec<u8>,
}

impl Decode for Messages<'_, '_> {
    type Error = Violation;

    fn next(&self, input: &[u8]) -> Step<Violation> {
        frames::next(input, &self.unfinished, self.message_bytes_max)
    }

    fn take(&mut self, frame: &[u8]) -> Result<Flow, Violation> {
        *self.frames_left -= 1;
        let event = frames::take(frame, &mut self.unfinished, &mut self.unmasked)?;
        let flow = self.peer.on_event(&event)?;
        Ok(if *self.frames_left == 0 { Flow::Stop } else { flow })
    }
}
