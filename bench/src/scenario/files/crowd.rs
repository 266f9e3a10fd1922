//! Many transfers at once: how much memory they take, and how many bytes go while something else is measured.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{sleep_until, timeout},
};

use super::{
    DEADLINE, TRANSFERS_PER_USER,
    client::{AsyncPause, Client, Pause, User},
};
use crate::host::Process;

/// How often memory is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Transfers that are in their middle at the same time.
#[derive(Debug)]
pub struct Crowd {
    pub client: Client,
    pub users: Vec<User>,
    pub transfers: u32,
    pub bytes: u64,
    /// Whose memory is looked at, and how much it had before all of this.
    pub server: Process,
    pub rss_before: u64,
}

impl Crowd {
    /// All go up: where they are read, and by how much the server grew at most.
    pub async fn up(self: &Arc<Self>) -> anyhow::Result<(Vec<String>, u64)> {
        self.all(|crowd, number, middle| async move {
            let user = &crowd.users[number / TRANSFERS_PER_USER as usize];
            crowd.client.upload(user, crowd.bytes, Some(&middle)).await
        })
        .await
    }

    /// All go down.
    pub async fn down(self: &Arc<Self>, paths: Vec<String>) -> anyhow::Result<u64> {
        let paths = Arc::new(paths);
        let read = self.all(move |crowd, number, middle| {
            let paths = paths.clone();
            async move { crowd.client.download(&paths[number], crowd.bytes, Some(&middle)).await }
        });
        Ok(read.await?.1)
    }

    async fn all<T, F>(
        self: &Arc<Self>,
        transfer: impl Fn(Arc<Self>, usize, Middle) -> F,
    ) -> anyhow::Result<(Vec<T>, u64)>
    where
        T: Send + 'static,
        F: Future<Output = anyhow::Result<T>> + Send + 'static,
    {
        let all_there = Arc::new(Barrier::new(self.transfers as usize));
        let mut going = JoinSet::new();
        for number in 0..self.transfers as usize {
            let middle = Middle { at: self.bytes / 2, was_there: AtomicBool::new(false), all_there: all_there.clone() };
            let transfer = transfer(self.clone(), number, middle);
            going.spawn(async move { (number, transfer.await) });
        }
        let mut most = self.rss_before;
        let mut done: Vec<(usize, T)> = Vec::new();
        while !going.is_empty() {
            match timeout(LOOK_INTERVAL, going.join_next()).await {
                Ok(Some(ended)) => {
                    let (number, result) = ended.context("a transfer failed")?;
                    done.push((number, result?));
                }
                Ok(None) => {}
                Err(_) => most = most.max(self.server.rss_bytes()?),
            }
        }
        done.sort_by_key(|(number, _)| *number);
        Ok((done.into_iter().map(|(_, result)| result).collect(), most - self.rss_before))
    }
}

/// A transfer that has come so far waits until all have.
struct Middle {
    at: u64,
    was_there: AtomicBool,
    all_there: Arc<Barrier>,
}

impl AsyncPause for Middle {
    fn after<'a>(&'a self, done: u64) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            if done >= self.at && !self.was_there.swap(true, Relaxed) {
                // One that fails ends the run with its own error.
                let _late = timeout(DEADLINE, self.all_there.wait()).await.is_err();
            }
        })
    }
}

/// Has a transfer take no more than so many bytes per second.
struct RatePause {
    begun: Instant,
    bytes_per_s: u64,
}

impl AsyncPause for RatePause {
    fn after<'a>(&'a self, done: u64) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let at = self.begun + Duration::from_secs_f64(done as f64 / self.bytes_per_s as f64);
        Box::pin(sleep_until(at.into()))
    }
}

/// Keeps transfers going until the time is over; how many bytes went.
pub async fn keep_going(
    client: &Client,
    users: &[User],
    transfers: u32,
    bytes: u64,
    pace: Option<u64>,
    duration: Duration,
) -> anyhow::Result<u64> {
    let end = Instant::now() + duration;
    let mut going = JoinSet::new();
    for number in 0..transfers as usize {
        let (client, user) = (client.clone(), users[number / TRANSFERS_PER_USER as usize].clone());
        going.spawn(async move {
            let path = if number % 2 == 0 { None } else { Some(client.upload(&user, bytes, None).await?) };
            let mut went = 0;
            while Instant::now() < end {
                let pace = pace.map(|bytes_per_s| RatePause { begun: Instant::now(), bytes_per_s });
                let pause = pace.as_ref().map(|pace| pace as &(dyn AsyncPause + Sync)) as Pause<'_>;
                match &path {
                    None => drop(client.upload(&user, bytes, pause).await?),
                    Some(path) => client.download(path, bytes, pause).await?,
                }
                went += bytes;
            }
            Ok::<_, anyhow::Error>(went)
        });
    }
    let mut went = 0;
    while let Some(ended) = going.join_next().await {
        went += ended.context("a transfer failed")??;
    }
    Ok(went)
}
