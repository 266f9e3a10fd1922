//! The people of a run: a client of the SDK each, and a task that notes what happens to it. On the runtime of the target.
//!
//! Always holds: who writes to whom is told by the number of a person alone, as two who follow each other are a pair.

use std::time::{Duration, Instant};

use gim_client::{Client, Event, Events, Options, SendOptions, State, Target as To, text_of};
use tokio::{
    select,
    sync::{
        mpsc::{self, Receiver, Sender},
        oneshot,
    },
    task::{JoinHandle, JoinSet},
    time::sleep_until,
};

use crate::{stats::Schedule, target::Target, users::User};

/// Notes that wait for the ledger; with more of them, clients wait.
const NOTES_MAX: usize = 4096;

/// The task that writes.
pub type Writing = JoinHandle<anyhow::Result<(u32, u32)>>;

/// What happened to a person.
#[derive(Debug)]
pub struct Note {
    /// Who.
    pub person: usize,
    /// When.
    pub at: Instant,
    /// What.
    pub what: What,
}

/// What may happen.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// The client is signed in.
    Live,
    /// It no longer is.
    Away,
    /// It stays away, as the server wants; why.
    Ended(String),
    /// A message is stored that was meant to leave then.
    Stored(Instant),
    /// A message was refused for good; why.
    Failed(String),
    /// The other one of the pair wrote: which message, and when it was meant to leave.
    Got(u64, Instant),
}

/// All people.
pub struct People {
    clients: Vec<Client>,
    epoch: Instant,
    /// Ends the tasks with the run.
    _watchers: JoinSet<()>,
}

impl People {
    /// Nobody is connected yet.
    pub async fn meet(target: &Target, users: Vec<User>, locates: bool) -> anyhow::Result<(Self, Receiver<Note>)> {
        let (notes, receiver) = mpsc::channel(NOTES_MAX);
        let (epoch, mut watchers, mut clients) = (Instant::now(), JoinSet::new(), Vec::with_capacity(users.len()));
        for (person, user) in users.into_iter().enumerate() {
            let options = Options::new(user.id, user.device_id).app_id(target.app_id()).get_token(move |_| {
                let token = user.token.clone();
                async { Ok(Some(token)) }
            });
            let options = if locates { options.locate(target.locate_url()) } else { options.url(target.tcp_url()) };
            let (client, events) = Client::new(options)?;
            let watcher = Watcher { person, user_id: user.id, epoch, is_live: false, notes: notes.clone() };
            watchers.spawn(watcher.watch(events));
            clients.push(client);
        }
        Ok((Self { clients, epoch, _watchers: watchers }, receiver))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Has one of them connect.
    pub async fn start(&self, person: usize) {
        self.clients[person].start().await;
    }

    /// The first `writing` people write by turns until `end`, in a task; how much left, and how much of it late through our fault.
    pub fn write_on_time(&self, writing: usize, mut schedule: Schedule, mut end: oneshot::Receiver<()>) -> Writing {
        let (clients, epoch) = (self.clients[..writing].to_vec(), self.epoch);
        tokio::spawn(async move {
            let mut turns = (1..=u64::MAX).flat_map(|round| (0..writing).map(move |person| (round, person)));
            while let Some(next) = schedule.next() {
                select! {
                    _ = &mut end => break,
                    () = sleep_until(next.into()) => {}
                }
                while let Some(intended) = schedule.due(Instant::now()) {
                    let Some((number, person)) = turns.next() else { break };
                    let (id, to) = (id_of(number, intended - epoch), To::User(clients[person ^ 1].user_id()));
                    let options = SendOptions { client_msg_id: id.clone(), ..SendOptions::default() };
                    clients[person].send_with(to, id, options).await?;
                }
            }
            Ok(schedule.sent())
        })
    }
}

/// A message is its own id: its number with its sender, and when it was meant to leave.
fn id_of(number: u64, since_epoch: Duration) -> String {
    format!("{number:x}-{:x}", since_epoch.as_nanos())
}

fn read_id(id: &str) -> Option<(u64, Duration)> {
    let (number, nanos) = id.split_once('-')?;
    Some((u64::from_str_radix(number, 16).ok()?, Duration::from_nanos(u64::from_str_radix(nanos, 16).ok()?)))
}

/// Notes what happens to one person.
struct Watcher {
    person: usize,
    user_id: u64,
    epoch: Instant,
    is_live: bool,
    notes: Sender<Note>,
}

impl Watcher {
    async fn watch(mut self, mut events: Events) {
        while let Some(event) = events.next().await {
            let Some(what) = self.meaning(event) else { continue };
            let note = Note { person: self.person, at: Instant::now(), what };
            if self.notes.send(note).await.is_err() {
                return;
            }
        }
    }

    /// Nothing, where nobody asks for it.
    fn meaning(&mut self, event: Event) -> Option<What> {
        match event {
            Event::State(State::Ended { message, .. }) => Some(What::Ended(message)),
            Event::State(state) => {
                let was_live = std::mem::replace(&mut self.is_live, state == State::Live);
                (was_live != self.is_live).then_some(if self.is_live { What::Live } else { What::Away })
            }
            Event::Sent(sent) => read_id(&sent.client_msg_id).map(|(_, since)| What::Stored(self.epoch + since)),
            Event::Failed { code, message, .. } => Some(What::Failed(format!("code {code}: {message}"))),
            Event::Message(message) => {
                message.from.as_ref().filter(|from| from.user_id != self.user_id)?;
                read_id(&text_of(&message)).map(|(number, since)| What::Got(number, self.epoch + since))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_its_number_and_when_it_was_meant_to_leave() {
        let since = Duration::from_nanos(12_345_678_901);
        assert_eq!(read_id(&id_of(700, since)), Some((700, since)));
        assert!(["", "7", "x-y", "7-"].into_iter().all(|id| read_id(id).is_none()));
    }
}
