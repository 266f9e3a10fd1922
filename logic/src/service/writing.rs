//! The inbox writer, and where what it commits goes: started together, as each needs the other.

use std::sync::Arc;

use gim_config::request_shares::RequestShares;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    delivery::{fanout::Fanout, nodes::Nodes},
    settings::LogicSettings,
    shared_state::SharedState,
    store::{
        Store,
        writer::{Numbering, Writer},
    },
};

/// Committed batches that wait for the fan-out; a full queue holds the writer up.
const COMMITTED_BATCHES_MAX: usize = 16;

/// See the module's documentation.
pub(super) struct Writing {
    pub nodes: Arc<Nodes>,
    pub fanout: Fanout,
    pub fanout_task: JoinHandle<()>,
    pub writer: Writer,
    pub writer_task: JoinHandle<()>,
}

impl Writing {
    pub(super) fn start(
        settings: &LogicSettings,
        store: &Store,
        shared: &Arc<dyn SharedState>,
        (shares, numbering): (Arc<RequestShares>, Numbering),
    ) -> Self {
        let nodes = Arc::new(Nodes::new(settings.link.clone(), shared.clone()));
        let fanout = Fanout::new(shared.clone(), nodes.clone());
        let (deliveries, committed) = mpsc::channel(COMMITTED_BATCHES_MAX);
        let (writer, writer_task) = Writer::start(&store.database, &settings.inbox, shares, numbering, deliveries);
        let fanout_task = tokio::spawn(fanout.clone().run(committed));
        Self { nodes, fanout, fanout_task, writer, writer_task }
    }
}
