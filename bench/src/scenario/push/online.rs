//! Those who are there: a client of the SDK each, which acknowledges what comes. On the runtime of the target.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use gim_client::{Client, Event, Events, Options, State};
use tokio::task::JoinSet;

use crate::{swarm::DEADLINE, target::Target, users::User};

/// Between two looks.
const TURN: Duration = Duration::from_millis(20);

/// All of them. Dropped, they are gone.
pub struct Online {
    _clients: Vec<Client>,
    seen: Vec<Arc<Seen>>,
    _watchers: JoinSet<()>,
}

/// What happened to one.
#[derive(Debug, Default)]
struct Seen {
    live: AtomicU64,
    messages: AtomicU64,
}

impl Online {
    /// Connects them, and waits until all are signed in.
    pub async fn connect(target: &Target, users: &[User]) -> anyhow::Result<Self> {
        let (mut clients, mut seen, mut watchers) = (Vec::new(), Vec::new(), JoinSet::new());
        for user in users {
            let token = user.token.clone();
            let options = Options::new(user.id, user.device_id).app_id(target.app_id()).get_token(move |_| {
                let token = token.clone();
                async { Ok(Some(token)) }
            });
            let (client, events) = Client::new(options.url(target.tcp_url()))?;
            let of_one = Arc::new(Seen::default());
            watchers.spawn(watch(events, of_one.clone()));
            client.start().await;
            clients.push(client);
            seen.push(of_one);
        }
        let online = Self { _clients: clients, seen, _watchers: watchers };
        online.until("signed in", |seen| seen.live.load(Relaxed) > 0).await?;
        Ok(online)
    }

    /// Waits until each has got so many messages.
    pub async fn await_messages(&self, count: u64) -> anyhow::Result<()> {
        self.until("got its first message", |seen| seen.messages.load(Relaxed) >= count).await
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Seen) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + DEADLINE.saturating_mul(3);
        loop {
            let missing = self.seen.iter().filter(|seen| !is_so(seen)).count();
            if missing == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{missing} clients have not {what} in time");
            tokio::time::sleep(TURN).await;
        }
    }
}

async fn watch(mut events: Events, seen: Arc<Seen>) {
    while let Some(event) = events.next().await {
        match event {
            Event::State(State::Live) => seen.live.store(1, Relaxed),
            Event::Message(_) => drop(seen.messages.fetch_add(1, Relaxed)),
            _ => {}
        }
    }
}
