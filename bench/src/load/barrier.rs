//! The side of a part: it waits for the others at the points of a scenario, and its clients live on meanwhile.

use std::{
    io,
    sync::mpsc::{Receiver, TryRecvError, channel},
    thread,
};

use anyhow::{Context as _, anyhow};
use serde_json::json;

use crate::{
    part,
    progress::{self, Progress},
    swarm::{Behaviour, Swarm, TICK},
};

/// Where parts wait for each other; nobody waits in a run of one process.
#[derive(Debug)]
pub struct Barrier {
    go: Option<Receiver<()>>,
}

impl Barrier {
    /// Of a run of one process.
    pub fn none() -> Self {
        Self { go: None }
    }

    /// Of a part: listens to the leading process from now on.
    pub fn with_leader() -> anyhow::Result<Self> {
        let (goes, go) = channel();
        let listen = move || {
            for line in io::stdin().lines() {
                if line.is_err() || goes.send(()).is_err() {
                    break;
                }
            }
            // The leader is gone, or has enough.
            std::process::exit(1);
        };
        thread::Builder::new().name("leader".into()).spawn(listen).context("cannot start a thread")?;
        progress::tell_parent();
        Ok(Self { go: Some(go) })
    }

    /// Waits until all are at this point.
    pub fn wait(&self, point: &str, swarm: &mut Swarm, behaviour: &mut impl Behaviour) -> anyhow::Result<()> {
        let Some(go) = &self.go else { return Ok(()) };
        part::say(&json!({ "at": point, "standing": progress::standing() }));
        let mut progress = Progress::new("waiting for the others", 1);
        loop {
            match go.try_recv() {
                Ok(()) => return Ok(()),
                Err(TryRecvError::Empty) => swarm.turn(behaviour, TICK)?,
                Err(TryRecvError::Disconnected) => return Err(anyhow!("the leading process is gone")),
            }
            progress.show(0, String::new);
        }
    }
}
