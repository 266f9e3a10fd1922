//! Runs the core with sockets, a clock and a store, in one task. It waits for nobody: what the app is slow to take waits in a bounded queue,
//! and while that is long, messages are left with the server.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::RngExt as _;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    core::{
        About, Action, Answer, AppRequest, Core, CoreSettings, Cursors, Event, Located, NEVER, PendingSend, Remembered,
        State, local_code,
    },
    error::GimError,
    locate::locate,
    options::{Options, TokenProvider, TokenRequest, Way},
    teller::{Step, Teller},
    transport::{Socket, SocketEvent, Tls, TransportError},
};

/// Steps that wait for the store and the app: from the first number on messages are left with the server, from the second on sends are
/// refused and states and errors go untold, and the third is never reached, because each send has a few steps at most.
const STEPS_BEHIND: usize = 256;
const STEPS_FULL: usize = 1024;
const STEPS_MAX: usize = 8 * 1024;
const LOCATE_TIMEOUT: Duration = Duration::from_secs(9);
/// The farthest that a timer is set.
const TIMER_MAX: Duration = Duration::from_secs(24 * 3600);
const DONE_MAX: usize = 64;

/// What the app asks for.
pub(crate) enum Command {
    Start,
    Stop,
    Nudge,
    /// Whether it is taken.
    Send(PendingSend, oneshot::Sender<Result<(), GimError>>),
    Request(AppRequest, Duration, oneshot::Sender<Answer>),
    EnterRoom {
        room_id: u64,
        from_start: bool,
    },
}

/// What was asked outside.
enum Found {
    Token(Result<Option<String>, String>),
    Located(Result<Located, String>),
}

pub(crate) struct Engine {
    core: Core,
    clock: Clock,
    tls: Tls,
    way: Option<Way>,
    token_provider: TokenProvider,
    commands: mpsc::Receiver<Command>,
    has_commands: bool,
    steps: mpsc::Sender<Step>,
    done: mpsc::Receiver<Option<Cursors>>,
    socket: Option<Socket>,
    /// The one question that is open: for a token, or for addresses.
    questions: JoinSet<Found>,
    answers: HashMap<String, oneshot::Sender<Answer>>,
    state: watch::Sender<State>,
    is_behind: bool,
    /// The app listens no more.
    is_over: bool,
}

/// Loads what the last run left, and runs until the app listens no more.
pub(crate) async fn run(
    mut options: Options,
    token_provider: TokenProvider,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    state: watch::Sender<State>,
) {
    let loaded = options.store.load().await;
    let (steps, receiver) = mpsc::channel(STEPS_MAX);
    let (sender, done) = mpsc::channel(DONE_MAX);
    let is_storing = loaded.is_ok();
    let (remembered, failure) = match loaded {
        Ok(remembered) => (remembered, None),
        Err(error) => (Remembered::default(), Some(error.to_string())),
    };
    let clock = Clock::new();
    let settings = CoreSettings {
        user_id: options.user_id,
        device_id: options.device_id,
        app_id: options.app_id,
        url: if let Some(Way::Url(url)) = &options.way { Some(url.clone()) } else { None },
        heartbeat_ms: options.heartbeat.map(millis),
        answer_timeout_ms: millis(options.answer_timeout),
        start_at: options.start_at,
        random: Box::new(|| rand::rng().random()),
    };
    let mut engine = Engine {
        core: Core::new(settings, remembered, clock.now_ms()),
        clock,
        tls: options.tls,
        way: options.way,
        token_provider,
        commands,
        has_commands: true,
        steps,
        done,
        socket: None,
        questions: JoinSet::new(),
        answers: HashMap::new(),
        state,
        is_behind: false,
        is_over: false,
    };
    if let Some(message) = failure {
        engine.step(Step::Tell(Event::Error { about: About::Storage, message }));
    }
    let teller = Teller { store: options.store, is_storing, events };
    // Ended together: the teller by the queue that this drops, this by the queue that the teller drops.
    let telling = tokio::spawn(teller.run(receiver, sender));
    engine.run().await;
    drop(engine);
    // What it told is told: a panic in there is the store's own, and was reported.
    let _ = telling.await;
}

impl Engine {
    async fn run(&mut self) {
        self.perform();
        while !self.is_over {
            let deadline = self.clock.instant(self.core.deadline_ms());
            tokio::select! {
                command = self.commands.recv(), if self.has_commands => match command {
                    Some(command) => self.on_command(command),
                    None => self.has_commands = false,
                },
                event = next_event(&mut self.socket) => self.on_socket(event),
                Some(found) = self.questions.join_next() => self.on_found(found.ok()),
                done = self.done.recv() => match done {
                    Some(Some(cursors)) => self.core.on_stored(cursors, self.clock.now_ms()),
                    Some(None) => {}
                    None => self.is_over = true,
                },
                () = sleep_until(deadline) => self.core.advance(self.clock.now_ms()),
            }
            self.perform();
        }
    }

    fn on_command(&mut self, command: Command) {
        let now_ms = self.clock.now_ms();
        match command {
            Command::Start => self.core.start(now_ms),
            Command::Stop => self.core.stop(),
            Command::Nudge => self.core.nudge(now_ms),
            Command::EnterRoom { room_id, from_start } => self.core.enter_room(room_id, from_start, now_ms),
            Command::Send(send, taken) => {
                let is_full = self.steps_waiting() >= STEPS_FULL;
                if !is_full {
                    self.core.send(PendingSend { created_at_ms: now_ms, ..send }, now_ms);
                }
                let full = || GimError::new(local_code::TOO_MANY_WAITING, "the app takes too few of the events");
                // Whoever does not wait for it need not know.
                let _ = taken.send(if is_full { Err(full()) } else { Ok(()) });
            }
            Command::Request(request, timeout, answer) => {
                self.forget_cancelled();
                let deadline_ms = now_ms.saturating_add(millis(timeout));
                self.answers.insert(request.request_id.clone(), answer);
                self.core.request(AppRequest { deadline_ms, ..request }, now_ms);
            }
        }
    }

    /// Requests whose answers nobody waits for.
    fn forget_cancelled(&mut self) {
        let core = &mut self.core;
        self.answers.retain(|request_id, answer| {
            if answer.is_closed() {
                core.cancel(request_id);
            }
            !answer.is_closed()
        });
    }

    fn on_socket(&mut self, event: SocketEvent) {
        let now_ms = self.clock.now_ms();
        match event {
            SocketEvent::Opened => self.core.on_opened(now_ms),
            SocketEvent::Packet(bytes) => self.core.on_bytes(bytes, now_ms),
            SocketEvent::Closed(error) => {
                self.socket = None;
                match error {
                    TransportError::Garbage => self.core.on_garbage(now_ms),
                    TransportError::Closed => {}
                    error => self.step(Step::Tell(error_about(About::Connection, error.to_string()))),
                }
                self.core.on_closed(now_ms);
            }
        }
    }

    /// None where the app's own code panicked.
    fn on_found(&mut self, found: Option<Found>) {
        let now_ms = self.clock.now_ms();
        match found {
            Some(Found::Token(Ok(token))) => self.core.on_token(token, now_ms),
            Some(Found::Token(Err(error))) => self.core.on_failed(About::Token, &error, now_ms),
            Some(Found::Located(Ok(located))) => self.core.on_located(located, now_ms),
            Some(Found::Located(Err(error))) => self.core.on_failed(About::Locate, &error, now_ms),
            None => self.core.on_failed(About::Token, "get_token panicked", now_ms),
        }
    }

    fn perform(&mut self) {
        loop {
            let actions = self.core.poll();
            if actions.is_empty() {
                break;
            }
            actions.into_iter().for_each(|action| self.perform_one(action));
        }
        let is_behind = self.steps_waiting() >= if self.is_behind { STEPS_BEHIND / 2 } else { STEPS_BEHIND };
        if is_behind != self.is_behind {
            self.is_behind = is_behind;
            self.core.set_behind(is_behind, self.clock.now_ms());
            if !is_behind {
                self.perform();
            }
        }
    }

    fn perform_one(&mut self, action: Action) {
        match action {
            Action::Packet(bytes) => {
                if self.socket.as_ref().is_some_and(|socket| !socket.send(bytes)) {
                    self.socket = None;
                    self.core.on_closed(self.clock.now_ms());
                }
            }
            Action::Connect { url } => self.socket = Some(Socket::open(url, self.tls.clone())),
            Action::Disconnect => self.socket = None,
            Action::GetToken { was_refused } => {
                let provider = self.token_provider.clone();
                // The app's own code runs in there, so that it can harm nothing but itself.
                self.ask(async move {
                    let answer = provider(TokenRequest { was_refused }).await;
                    Found::Token(answer.map_err(|error| error.to_string()))
                });
            }
            Action::Locate { room_id } => {
                let (way, tls) = (self.way.clone(), self.tls.clone());
                self.ask(async move { Found::Located(located(way, room_id, &tls).await) });
            }
            Action::Answer { request_id, answer } => {
                if let Some(sender) = self.answers.remove(&request_id) {
                    // Whoever waited may have gone.
                    let _ = sender.send(answer);
                }
            }
            Action::Deliver { messages, cursors } => self.step(Step::Deliver { messages, cursors }),
            Action::RememberSend(send) => self.step(Step::Remember(send)),
            Action::ForgetSend { client_msg_id } => self.step(Step::Forget(client_msg_id)),
            Action::Event(event) => {
                if let Event::State(state) = &event {
                    self.state.send_replace(state.clone());
                }
                self.step(Step::Tell(event));
            }
        }
    }

    fn ask(&mut self, question: impl Future<Output = Found> + Send + 'static) {
        self.questions.abort_all();
        self.questions = JoinSet::new();
        self.questions.spawn(question);
    }

    fn step(&mut self, step: Step) {
        let may_go_untold = matches!(step, Step::Tell(Event::State(_) | Event::Error { .. }));
        if may_go_untold && self.steps_waiting() >= STEPS_FULL {
            return;
        }
        self.is_over |= self.steps.try_send(step).is_err();
    }

    fn steps_waiting(&self) -> usize {
        STEPS_MAX - self.steps.capacity()
    }
}

async fn next_event(socket: &mut Option<Socket>) -> SocketEvent {
    match socket {
        Some(socket) => socket.next().await,
        None => std::future::pending().await,
    }
}

async fn located(way: Option<Way>, room_id: u64, tls: &Tls) -> Result<Located, String> {
    let Some(Way::Locate(url)) = way else { return Ok(Located::default()) };
    let answer = timeout(LOCATE_TIMEOUT, locate(&url, room_id, tls)).await;
    answer.map_err(|_| "it took too long".to_owned())?.map_err(|error| error.to_string())
}

fn error_about(about: About, message: String) -> Event {
    Event::Error { about, message }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER / 4).min(NEVER / 4)
}

/// Never goes back, and is about the time of day.
struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_ms: millis(since) }
    }

    fn now_ms(&self) -> u64 {
        self.started_ms + millis(self.started.elapsed())
    }

    /// When it is so late; for [`NEVER`] some day.
    fn instant(&self, at_ms: u64) -> Instant {
        let since = Duration::from_millis(at_ms.saturating_sub(self.started_ms));
        // A millisecond is over when it is: rounded down, a timer would come too early again and again.
        let latest = Instant::now() + TIMER_MAX;
        self.started.checked_add(since).map_or(latest, |at| at.min(latest))
    }
}
