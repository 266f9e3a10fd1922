//! A device whose client is the SDK: an app that sends, is killed, and starts again with what it stored. One thread each; the client itself
//! runs on the runtime of the cluster.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gim_client::{
    Client, EndReason, Event, Events, Message, Options, SendOptions, Sent, StartAt, State, Target,
    core::{Cursors, PendingSend, Remembered},
    storage::{Store, StoreFuture},
    text_of,
};
use gim_proto::connect::MessageCommand;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use tokio::{runtime::Handle, time::timeout};

use crate::{
    board::{Board, Phase},
    conversations::Conversations,
    judge::{Acknowledged, Seen},
    people::{Identity, People},
};

/// How long an answer may take before the client tries another connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Between two things that a device does.
const PAUSE: Duration = Duration::from_millis(40);
/// How long nothing may come of what the app waits for.
const DEADLINE: Duration = Duration::from_secs(60);
/// Of what the client told lately, how much is shown where nothing comes.
const TOLD_MAX: usize = 30;
/// Of its sends, how many go to its normal group, and to the large one; and after how many the app is killed before they are answered.
const GROUP_SENDS_PERCENT: u32 = 20;
const LARGE_GROUP_SENDS_PERCENT: u32 = 20;
const KILLED_SENDS_PERCENT: u32 = 10;

pub struct SdkDevice {
    runtime: Handle,
    /// Where each logic node is asked where to connect.
    locate_urls: Vec<String>,
    identity: Identity,
    people: Arc<People>,
    board: Arc<Board>,
    random: StdRng,
    disk: Arc<Mutex<Disk>>,
    app: Option<App>,
    /// A client of the device that a newer one replaced, and that does not know it yet.
    former: Option<App>,
    next_text: u64,
}

/// A run of the app.
struct App {
    client: Client,
    events: Events,
    /// Of the inbox and of the timeline: what was shown last in this run.
    shown: [u64; 2],
    is_synced: bool,
    sent: BTreeMap<String, Sent>,
    started: Instant,
    /// States and errors, and when after the start they came.
    told: VecDeque<String>,
}

impl App {
    fn note_told(&mut self, event: &Event) {
        if self.told.len() == TOLD_MAX {
            self.told.pop_front();
        }
        self.told.push_back(format!("{:.1} s: {event:?}", self.started.elapsed().as_secs_f32()));
    }
}

/// What outlives the app.
struct Disk {
    /// Which run it belongs to: an older one that still goes on can write no more.
    run: u64,
    cursors: Cursors,
    outbox: Vec<PendingSend>,
    seen: Seen,
    conversations: Conversations,
    problem: Option<String>,
}

impl SdkDevice {
    pub fn new(
        runtime: Handle,
        locate_urls: Vec<String>,
        identity: Identity,
        people: Arc<People>,
        board: Arc<Board>,
        seed: u64,
    ) -> Self {
        let disk = Disk {
            run: 0,
            cursors: Cursors::default(),
            outbox: Vec::new(),
            seen: Seen::new(identity.user_id),
            conversations: Conversations::default(),
            problem: None,
        };
        Self {
            runtime,
            locate_urls,
            random: StdRng::seed_from_u64(seed ^ (identity.device_id << 32)),
            identity,
            people,
            board,
            disk: Arc::new(Mutex::new(disk)),
            app: None,
            former: None,
            next_text: 1,
        }
    }

    /// Through all phases of the board.
    pub fn run(&mut self) -> Seen {
        self.start();
        self.until("it has synced", |app| app.is_synced);
        while self.board.phase() == Phase::Load {
            match self.random.random_range(0..100) {
                0..30 => self.send(),
                30..33 => self.start(),
                35..40 => self.read(),
                33..35 => {
                    self.former = self.app.take();
                    self.start();
                }
                _ => self.listen(),
            }
        }
        self.former = None;
        self.board.everything_sent();
        self.board.await_phase(Phase::CatchUp);
        self.start();
        self.until("it has synced", |app| app.is_synced);
        self.check_list();
        self.board.caught_up();
        while self.board.phase() != Phase::Leave {
            self.listen();
        }
        self.app = None;
        let mut disk = lock(&self.disk);
        std::mem::replace(&mut disk.seen, Seen::new(0))
    }

    /// Whatever ran before is gone without a word.
    fn start(&mut self) {
        self.app = None;
        let run = {
            let mut disk = lock(&self.disk);
            disk.run += 1;
            disk.run
        };
        let (device_id, large_group_id) = (self.identity.device_id, self.people.large_group_id);
        let (disk, board) = (self.disk.clone(), self.board.clone());
        let store = DiskStore { run, disk, device_id, large_group_id, board };
        let token = self.identity.token.clone();
        let options = Options::new(self.identity.user_id, device_id)
            .locate(self.locate_urls.choose(&mut self.random).unwrap())
            .get_token(move |_| {
                let token = token.clone();
                async { Ok(Some(token)) }
            })
            .start_at(StartAt::First)
            .heartbeat(HEARTBEAT)
            .answer_timeout(ANSWER_TIMEOUT)
            .store(store);
        let (client, events) = self.runtime.block_on(async {
            let (client, events) = Client::new(options).unwrap();
            client.start().await;
            (client, events)
        });
        self.app = Some(App {
            client,
            events,
            shown: [0; 2],
            is_synced: false,
            sent: BTreeMap::new(),
            started: Instant::now(),
            told: VecDeque::new(),
        });
    }

    /// Sends a text, and waits until it is stored. Now and then the app is killed meanwhile.
    fn send(&mut self) {
        let (target, to) = self.receiver();
        let text = format!("{} of {}", self.next_text, self.identity.device_id);
        self.next_text += 1;
        let asked = Instant::now();
        self.ask_to_send(target, &text);
        if self.random.random_range(0..100) < KILLED_SENDS_PERCENT {
            self.start();
            // The next run sends what it finds on the disk. It may have been answered, and the app killed before it knew.
            if lock(&self.disk).outbox.is_empty() {
                self.ask_to_send(target, &text);
            }
        }
        self.until("the send is answered", |app| app.sent.contains_key(&text));
        let sent = self.app.as_mut().and_then(|app| app.sent.remove(&text)).unwrap();
        let is_large_group = target == Target::Group(self.people.large_group_id);
        let (from, Sent { message_id, seq, .. }) = (self.identity.user_id, sent);
        let acknowledged = Acknowledged { from, to, is_large_group, text, message_id, seq };
        let seen = &mut lock(&self.disk).seen;
        seen.acknowledged.push(acknowledged);
        seen.longest_send = seen.longest_send.max(asked.elapsed());
    }

    /// Says that something was read. It may come to nothing; what is acknowledged stays.
    fn read(&mut self) {
        let number = self.random.random_range(0..usize::MAX);
        let Some((target, message_id)) = lock(&self.disk).conversations.pick(number) else { return };
        let client = &self.app.as_ref().unwrap().client;
        let read = async { timeout(ANSWER_TIMEOUT, client.conversations().read(target, message_id)).await };
        if matches!(self.runtime.block_on(read), Ok(Ok(()))) {
            lock(&self.disk).conversations.note_read(target, message_id);
        }
    }

    fn check_list(&mut self) {
        let client = &self.app.as_ref().unwrap().client;
        let listed = self.runtime.block_on(async { timeout(DEADLINE, client.conversations().list()).await });
        let listed = listed.expect("an answer").expect("a list");
        lock(&self.disk).conversations.assert_listed(&listed, self.identity.device_id);
    }

    fn ask_to_send(&self, target: Target, text: &str) {
        let client = &self.app.as_ref().unwrap().client;
        let options = SendOptions { command: 0, client_msg_id: text.to_owned() };
        self.runtime.block_on(client.send_with(target, text.to_owned(), options)).unwrap();
    }

    /// Where the next text goes, and whose inboxes it has to be in.
    fn receiver(&mut self) -> (Target, Vec<u64>) {
        let user_id = self.identity.user_id;
        let group = self.people.group_of(user_id);
        match self.random.random_range(0..100) {
            0..GROUP_SENDS_PERCENT => (Target::Group(group.id), group.user_ids.clone()),
            percent if percent < GROUP_SENDS_PERCENT + LARGE_GROUP_SENDS_PERCENT => {
                (Target::Group(self.people.large_group_id), Vec::new())
            }
            _ => {
                let others: Vec<u64> = self.people.user_ids().filter(|other| *other != user_id).collect();
                let to = *others.choose(&mut self.random).unwrap();
                (Target::User(to), vec![user_id, to])
            }
        }
    }

    /// Takes what comes until it is so; whoever waits for the next attempt does not have to.
    fn until(&mut self, what: &str, is_so: impl Fn(&App) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !self.app.as_ref().is_some_and(&is_so) {
            if Instant::now() >= deadline {
                let app = self.app.as_ref().map(|app| (app.started.elapsed(), app.client.state(), &app.told));
                panic!("device {}: not within {DEADLINE:?}: {what}; {app:#?}", self.identity.device_id);
            }
            self.listen();
        }
    }

    /// Takes what comes for a while.
    fn listen(&mut self) {
        let (device_id, app) = (self.identity.device_id, self.app.as_mut().unwrap());
        self.runtime.block_on(async {
            let taking = async {
                while let Some(event) = app.events.next().await {
                    match event {
                        Event::Message(message) => note_shown(&mut app.shown, &message, device_id),
                        Event::Synced => app.is_synced = true,
                        Event::Sent(sent) => drop(app.sent.insert(sent.client_msg_id.clone(), sent)),
                        Event::Failed { client_msg_id, code, message, .. } => {
                            panic!("device {device_id}: {client_msg_id} is refused: {code} {message}")
                        }
                        Event::Gap { .. } => panic!("device {device_id}: {event:?}"),
                        Event::State(_) | Event::Error { .. } => app.note_told(&event),
                        _ => {}
                    }
                }
            };
            let is_quiet = timeout(PAUSE, taking).await.is_err();
            assert!(is_quiet, "device {device_id}: the client is gone");
            match app.client.state() {
                State::Waiting { .. } => app.client.nudge().await,
                // An older one signed in after the newer one: it is closed, and the newer one opened again.
                State::Ended { reason: EndReason::Replaced, .. } => {
                    self.former = None;
                    app.client.start().await;
                }
                State::Ended { .. } => panic!("device {device_id}: {:?}", app.client.state()),
                _ => {}
            }
        });
        let problem = lock(&self.disk).problem.take();
        assert!(problem.is_none(), "device {device_id}: {problem:?}");
    }
}

/// What the app is shown in a run has no holes, and nothing comes twice.
fn note_shown(shown: &mut [u64; 2], message: &Message, device_id: u64) {
    for (shown, seq) in shown.iter_mut().zip([message.seq, message.group_seq]) {
        if seq > 0 {
            assert!(*shown == 0 || seq == *shown + 1, "device {device_id}: shown after {shown}: {message:?}");
            *shown = seq;
        }
    }
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The disk, as a run of the app has it.
struct DiskStore {
    run: u64,
    disk: Arc<Mutex<Disk>>,
    device_id: u64,
    large_group_id: u64,
    board: Arc<Board>,
}

impl DiskStore {
    fn write<T>(&self, act: impl FnOnce(&mut Disk) -> T) -> Result<T, gim_client::StoreError> {
        let mut disk = lock(&self.disk);
        if disk.run == self.run { Ok(act(&mut disk)) } else { Err("another run of the app has the disk".into()) }
    }

    /// Each message is the next one, or something was lost, doubled or reordered.
    fn note(&self, disk: &mut Disk, message: &Message) -> Result<(), String> {
        let Disk { seen, conversations, .. } = disk;
        let is_notice = message.command == MessageCommand::McAddGroupMembers as i32;
        let text = if is_notice { String::new() } else { text_of(message) };
        let (log, seq) = match (message.seq, message.group_seq) {
            (0, 0) => {
                self.board.note_live(self.device_id, text);
                return Ok(());
            }
            (0, group_seq) if message.group_id == self.large_group_id => {
                seen.timeline.begin_after(group_seq - 1);
                (&mut seen.timeline, group_seq)
            }
            (seq, _) => (&mut seen.inbox, seq),
        };
        if seq != log.newest_seq() + 1 || !log.note(seq, (message.message_id, text), self.device_id) {
            return Err(format!("after seq {} came {message:?}", log.newest_seq()));
        }
        conversations.note(message);
        Ok(())
    }
}

impl Store for DiskStore {
    fn load(&mut self) -> StoreFuture<'_, Remembered> {
        let loaded = self.write(|disk| {
            let (cursors, outbox) = (disk.cursors.clone(), disk.outbox.clone());
            Remembered { cursors, outbox, delivered: Vec::new() }
        });
        Box::pin(async { loaded })
    }

    fn apply<'a>(&'a mut self, messages: Vec<Message>, cursors: &'a Cursors) -> StoreFuture<'a, Vec<Message>> {
        let applied = self.write(|disk| {
            disk.cursors.clone_from(cursors);
            let noted = messages.iter().try_for_each(|message| self.note(disk, message));
            disk.problem = disk.problem.take().or(noted.err());
        });
        Box::pin(async { applied.map(|()| messages) })
    }

    fn remember_send<'a>(&'a mut self, send: &'a PendingSend) -> StoreFuture<'a, ()> {
        let written = self.write(|disk| disk.outbox.push(send.clone()));
        Box::pin(async { written })
    }

    fn forget_send<'a>(&'a mut self, client_msg_id: &'a str) -> StoreFuture<'a, ()> {
        let written = self.write(|disk| disk.outbox.retain(|send| send.client_msg_id != client_msg_id));
        Box::pin(async { written })
    }
}
