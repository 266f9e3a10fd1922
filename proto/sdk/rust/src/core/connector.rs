//! When and where to connect: the token, the addresses, the waits. It knows no packets; the core signs in and asks whether the
//! connection is alive.

use super::{
    backoff::Backoff,
    types::{Action, EndReason, Event, Located, NEVER, State},
};

const HEARTBEAT_DEFAULT_MS: u64 = 150_000;
/// However often the server says that heartbeats come too late, and however often the app wants them.
const HEARTBEAT_MIN_MS: u64 = 10_000;
const OWN_HEARTBEAT_MIN_MS: u64 = 100;
const TOKEN_TIMEOUT_MS: u64 = 30_000;
const LOCATE_TIMEOUT_MS: u64 = 10_000;
const OPEN_TIMEOUT_MS: u64 = 10_000;
/// A connection that lasted for so long was a good one: the next wait begins anew.
const STABLE_MS: u64 = 30_000;
/// Whoever was too fast comes back no sooner.
pub(super) const RATE_LIMITED_WAIT_MS: u64 = 5000;
/// What a server may ask for at most, of waits and heartbeats alike.
const ADVICE_MAX_MS: u64 = 3_600_000;
/// Ways of connecting that a server may name, and whether they are safe from those on the way.
const SCHEMES: [(&str, bool); 4] = [("wss", true), ("tls", true), ("ws", false), ("tcp", false)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Token,
    Locate,
    Opening,
    SigningIn,
    Live,
    Waiting,
    Ended,
}

pub(super) struct Connector {
    phase: Phase,
    /// When the present phase has taken too long, or the wait is over.
    phase_deadline_ms: u64,
    heartbeat_ms: u64,
    has_own_heartbeat: bool,
    url: Option<String>,
    backoff: Backoff,
    random: Box<dyn FnMut() -> f64 + Send>,
    token: String,
    was_refused: bool,
    /// Addresses that are still to be tried, best last.
    candidates: Vec<String>,
    /// Of the present connection.
    connected_url: String,
    advice_ms: u64,
    advice_url: Option<String>,
    not_before_ms: u64,
    live_since_ms: u64,
    /// What is to be done.
    pub(super) actions: Vec<Action>,
}

impl Connector {
    pub(super) fn new(url: Option<String>, heartbeat_ms: Option<u64>, random: Box<dyn FnMut() -> f64 + Send>) -> Self {
        Self {
            phase: Phase::Idle,
            phase_deadline_ms: NEVER,
            heartbeat_ms: heartbeat_ms.map_or(HEARTBEAT_DEFAULT_MS, |own| own.max(OWN_HEARTBEAT_MIN_MS)),
            has_own_heartbeat: heartbeat_ms.is_some(),
            url,
            backoff: Backoff::new(500, 30_000),
            random,
            token: String::new(),
            was_refused: false,
            candidates: Vec::new(),
            connected_url: String::new(),
            advice_ms: 0,
            advice_url: None,
            not_before_ms: 0,
            live_since_ms: 0,
            actions: Vec::new(),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    pub(super) fn phase_deadline_ms(&self) -> u64 {
        self.phase_deadline_ms
    }

    pub(super) fn heartbeat_ms(&self) -> u64 {
        self.heartbeat_ms
    }

    pub(super) fn random(&mut self) -> f64 {
        (self.random)()
    }

    pub(super) fn attempt(&mut self, now_ms: u64) {
        self.set_state(State::Connecting);
        self.ask_for_token(now_ms);
    }

    fn ask_for_token(&mut self, now_ms: u64) {
        self.enter(Phase::Token, now_ms + TOKEN_TIMEOUT_MS);
        self.actions.push(Action::GetToken { was_refused: self.was_refused });
    }

    /// Returns the token if there is a connection to sign in on already.
    pub(super) fn on_token(
        &mut self,
        token: Option<String>,
        room_id: u64,
        now_ms: u64,
        is_open: bool,
    ) -> Option<String> {
        if self.phase != Phase::Token {
            return None;
        }
        let Some(token) = token else {
            if is_open {
                self.actions.push(Action::Disconnect);
            }
            self.end(EndReason::NoToken, 0, "the app gave no token".into());
            return None;
        };
        self.token.clone_from(&token);
        if is_open {
            self.enter(Phase::SigningIn, NEVER);
            return Some(token);
        }
        if let Some(url) = self.advice_url.take().or_else(|| self.url.clone()) {
            self.candidates = vec![url];
            self.open_next(now_ms);
        } else {
            self.enter(Phase::Locate, now_ms + LOCATE_TIMEOUT_MS);
            self.actions.push(Action::Locate { room_id });
        }
        None
    }

    pub(super) fn on_located(&mut self, located: Located, now_ms: u64) {
        if self.phase != Phase::Locate {
            return;
        }
        if located.heartbeat_ms > 0 && !self.has_own_heartbeat {
            self.heartbeat_ms = located.heartbeat_ms.min(ADVICE_MAX_MS);
        }
        if located.first_ms > 0 {
            self.backoff.first_ms = located.first_ms.min(ADVICE_MAX_MS);
        }
        if located.max_ms > 0 {
            self.backoff.max_ms = located.max_ms.min(ADVICE_MAX_MS);
        }
        self.candidates = located.urls;
        self.candidates.reverse();
        self.open_next(now_ms);
    }

    fn open_next(&mut self, now_ms: u64) {
        let Some(url) = self.candidates.pop() else { return self.wait(now_ms) };
        self.enter(Phase::Opening, now_ms + OPEN_TIMEOUT_MS);
        self.connected_url.clone_from(&url);
        self.actions.push(Action::Connect { url });
    }

    /// The connection is open. Returns the token to sign in with.
    pub(super) fn on_opened(&mut self) -> Option<String> {
        if self.phase != Phase::Opening {
            return None;
        }
        self.candidates.clear();
        self.enter(Phase::SigningIn, NEVER);
        Some(self.token.clone())
    }

    pub(super) fn on_signed_in(&mut self, now_ms: u64) {
        self.was_refused = false;
        self.live_since_ms = now_ms;
        self.enter(Phase::Live, NEVER);
        self.set_state(State::Live);
    }

    /// The token is worthless: with a new one the client signs in on the same connection, once.
    pub(super) fn on_token_refused(&mut self, now_ms: u64) -> bool {
        let is_first = !self.was_refused;
        self.was_refused = true;
        if is_first {
            self.ask_for_token(now_ms);
        }
        is_first
    }

    /// A connection that was signed in has to begin anew with another token.
    pub(super) fn needs_new_token(&mut self) {
        self.was_refused = true;
    }

    /// What `PC_CLOSE` said.
    pub(super) fn advise(&mut self, after_ms: u64, endpoint: &str) {
        self.advice_ms = after_ms.min(ADVICE_MAX_MS);
        if let Some(url) = self.advised_url(endpoint) {
            self.advice_url = Some(url);
        }
    }

    /// Where it leads, as a URL; none where it is no address. Whoever came by TLS is sent to no place without it.
    fn advised_url(&self, endpoint: &str) -> Option<String> {
        let (connected, _) = self.connected_url.split_once("://")?;
        let url = match endpoint.split_once("://") {
            Some(_) => endpoint.to_owned(),
            // A node names its doors without WebSocket by host and port alone.
            None if connected == "tcp" || connected == "tls" => {
                let (host, port) = endpoint.rsplit_once(':')?;
                let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
                (is_port && !host.is_empty()).then(|| format!("{connected}://{endpoint}"))?
            }
            None => return None,
        };
        let is_safe = |scheme: &str| SCHEMES.iter().find(|(known, _)| *known == scheme).map(|(_, is_safe)| *is_safe);
        let (scheme, _) = url.split_once("://")?;
        (is_safe(scheme)? || is_safe(connected) != Some(true)).then_some(url)
    }

    /// The server missed some: they come twice as often from now on.
    pub(super) fn hasten_heartbeats(&mut self) {
        self.heartbeat_ms = (self.heartbeat_ms / 2).max(HEARTBEAT_MIN_MS.min(self.heartbeat_ms));
    }

    /// The connection ended or could not be made; or what comes before it failed.
    pub(super) fn on_failed(&mut self, now_ms: u64) {
        match self.phase {
            Phase::Idle | Phase::Ended | Phase::Waiting => {}
            Phase::Opening if !self.candidates.is_empty() => self.open_next(now_ms),
            _ => self.wait(now_ms),
        }
    }

    fn wait(&mut self, now_ms: u64) {
        if self.phase == Phase::Live && now_ms.saturating_sub(self.live_since_ms) >= STABLE_MS {
            self.backoff.reset();
        }
        self.candidates.clear();
        let random = self.random();
        let advice_ms = std::mem::take(&mut self.advice_ms);
        self.not_before_ms = now_ms + advice_ms;
        let until_ms = now_ms + self.backoff.next_ms(random).max(advice_ms);
        self.enter(Phase::Waiting, until_ms);
        self.set_state(State::Waiting { until_ms });
    }

    /// The network came back. What the server asked for still holds.
    pub(super) fn nudge(&mut self, now_ms: u64) {
        if self.phase != Phase::Waiting {
            return;
        }
        if now_ms >= self.not_before_ms {
            self.attempt(now_ms);
        } else {
            self.phase_deadline_ms = self.phase_deadline_ms.min(self.not_before_ms);
        }
    }

    pub(super) fn end(&mut self, reason: EndReason, code: i32, message: String) {
        self.enter(Phase::Ended, NEVER);
        self.was_refused = reason == EndReason::TokenRevoked;
        self.set_state(State::Ended { reason, code, message });
    }

    pub(super) fn stop(&mut self) {
        if self.phase != Phase::Idle {
            self.enter(Phase::Idle, NEVER);
            self.set_state(State::Idle);
        }
    }

    fn enter(&mut self, phase: Phase, deadline_ms: u64) {
        self.phase = phase;
        self.phase_deadline_ms = deadline_ms;
    }

    fn set_state(&mut self, state: State) {
        self.actions.push(Action::Event(Event::State(state)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advised(connected: &str, endpoint: &str) -> Option<String> {
        let mut connector = Connector::new(None, None, Box::new(|| 1.0));
        connector.connected_url = connected.into();
        connector.advise(0, endpoint);
        connector.advice_url
    }

    #[test]
    fn a_server_sends_nobody_to_a_place_that_is_none_or_less_safe() {
        for (connected, endpoint, expected) in [
            ("ws://one/ws", "ws://two/ws", Some("ws://two/ws")),
            ("ws://one/ws", "wss://two/ws", Some("wss://two/ws")),
            ("wss://one/ws", "ws://two/ws", None),
            ("tls://one:1", "tcp://two:2", None),
            ("tls://one:1", "two:2", Some("tls://two:2")),
            ("tcp://one:1", "two:2", Some("tcp://two:2")),
            ("tcp://one:1", "[::1]:2", Some("tcp://[::1]:2")),
            ("tcp://one:1", "javascript:alert(1)", None),
            ("ws://one/ws", "two:2", None),
            ("tcp://one:1", ":2", None),
            ("tcp://one:1", "file:///etc/passwd", None),
            ("tcp://one:1", "", None),
        ] {
            assert_eq!(advised(connected, endpoint).as_deref(), expected, "{connected} to {endpoint}");
        }
    }

    #[test]
    fn no_advice_makes_a_wait_endless() {
        let mut connector = Connector::new(Some("tcp://one:1".into()), None, Box::new(|| 1.0));
        connector.attempt(0);
        connector.on_token(Some("a token".into()), 0, 0, false);
        connector.advise(u64::from(u32::MAX), "");
        connector.on_failed(0);
        assert_eq!(connector.phase_deadline_ms(), ADVICE_MAX_MS);
    }
}
