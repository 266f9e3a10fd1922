//! Those who are told of what happens, by this node: the webhook, and streams of backends.

use std::sync::Arc;

use tokio::{sync::oneshot, task::JoinHandle};

use super::{StartError, join};
use crate::{
    clients::word_lists::WordLists,
    domain::message_id::MessageIds,
    events::{EventOutlet, EventStreams, LiveEvents, live::LiveOutlet, told::Teller},
    settings::LogicSettings,
    store::Store,
    walk::Settled,
};

/// Before anything happens.
pub(super) struct EventTelling {
    outlet: Option<EventOutlet>,
    live_outlet: Option<LiveOutlet>,
    pub live_events: LiveEvents,
    pub streams: Arc<EventStreams>,
}

/// As long as the service runs.
#[derive(Debug)]
pub(super) struct RunningTelling {
    outlets: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
    streams: Arc<EventStreams>,
}

impl EventTelling {
    /// As the settings say.
    pub(super) fn new(
        settings: &LogicSettings,
        store: &Store,
        settled: &Settled,
        words: &WordLists,
        ids: Arc<MessageIds>,
    ) -> Result<Self, StartError> {
        let teller = Teller::new(words.clone()).map_err(|error| StartError::Files(error.to_string()))?;
        let outlet = EventOutlet::new(settings, store, settled.clone(), &teller).map_err(StartError::Files)?;
        let webhook = outlet.as_ref().map(EventOutlet::webhook);
        let (live_events, live_outlet) = LiveEvents::new(&settings.events, ids, webhook);
        let streams =
            Arc::new(EventStreams::start(&settings.events, store, settled.clone(), teller, live_events.clone()));
        Ok(Self { outlet, live_outlet, live_events, streams })
    }

    /// Begins to tell the webhook.
    pub(super) fn start(self) -> RunningTelling {
        let outlets = self.outlet.map(EventOutlet::start).into_iter().chain(self.live_outlet.map(LiveOutlet::start));
        RunningTelling { outlets: outlets.collect(), streams: self.streams }
    }
}

impl RunningTelling {
    /// Others go on where this node ends.
    pub(super) async fn stop(self) {
        self.streams.stop().await;
        for (stop, task) in self.outlets {
            drop(stop);
            join("the telling of events", task).await;
        }
    }
}
