//! Those who are told of what happens, by this node: the webhook, and streams of backends.

use std::sync::Arc;

use gim_config::threads::{RunningThreads, Threads};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{StartError, describe, join, numbering::MessageNumbers};
use crate::{
    clients::word_lists::WordLists,
    events::{EventOutlet, EventStreams, LiveEvents, live::LiveOutlet, told::Teller},
    settings::LogicSettings,
    store::Store,
};

/// One tells of events, and another one gathers pushes meanwhile.
const WALK_THREADS: usize = 2;

/// Before anything happens.
pub(super) struct EventTelling {
    outlet: Option<EventOutlet>,
    live_outlet: Option<LiveOutlet>,
    /// Of all who walk over what is stored.
    pub threads: Threads,
    running_threads: RunningThreads,
    pub streams: Arc<EventStreams>,
}

/// As long as the service runs.
#[derive(Debug)]
pub(super) struct RunningTelling {
    outlets: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
    _threads: RunningThreads,
    streams: Arc<EventStreams>,
}

impl EventTelling {
    /// As the settings say.
    pub(super) fn new(
        settings: &LogicSettings,
        store: &Store,
        numbers: &MessageNumbers,
        words: &WordLists,
    ) -> Result<Self, StartError> {
        let no_thread =
            |error: std::io::Error| StartError::Files(format!("no thread walks over what is stored: {error}"));
        let (threads, running_threads) = Threads::start("walks", WALK_THREADS).map_err(no_thread)?;
        let teller = Teller::new(words.clone()).map_err(|error| StartError::Files(error.to_string()))?;
        let MessageNumbers { ids, settled, .. } = numbers;
        let outlet = EventOutlet::new(settings, store, settled.clone(), &teller, &threads);
        let outlet = outlet.map_err(StartError::Files)?;
        let webhook = outlet.as_ref().map(EventOutlet::webhook);
        let (live_events, live_outlet) = LiveEvents::new(&settings.events, ids.clone(), webhook);
        let streams = Arc::new(EventStreams::start(&settings.events, store, settled.clone(), teller, live_events));
        Ok(Self { outlet, live_outlet, threads, running_threads, streams })
    }

    /// Begins to tell the webhook.
    pub(super) fn start(self) -> RunningTelling {
        let live_outlet = self.live_outlet.map(|outlet| outlet.start(&self.threads));
        let outlets = self.outlet.map(EventOutlet::start).into_iter().chain(live_outlet);
        RunningTelling { outlets: outlets.collect(), _threads: self.running_threads, streams: self.streams }
    }
}

impl RunningTelling {
    /// Returns what has ended though it should go on.
    pub(super) async fn failed(&mut self) -> String {
        let outlets = self.outlets.iter_mut().map(|(_, task)| task);
        let outlet_ended = async {
            if outlets.len() == 0 {
                return std::future::pending().await;
            }
            let (ended, ..) = futures_util::future::select_all(outlets).await;
            describe("the telling of events", ended)
        };
        tokio::select! {
            problem = outlet_ended => problem,
            () = self.streams.failed() => "the look for what streams of events are told has ended".into(),
        }
    }

    /// Others go on where this node ends.
    pub(super) async fn stop(self) {
        self.streams.stop().await;
        for (stop, task) in self.outlets {
            drop(stop);
            join("the telling of events", task).await;
        }
    }
}
