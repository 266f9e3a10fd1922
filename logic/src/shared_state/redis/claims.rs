//! What this process has to be the only one to have: its name and its number as a logic node, and with its companions the keys of a
//! deployment. The task that starts takes them and the one that renews leases keeps them.
//!
//! Always holds: whoever does not start, or stops in order, gives its name and number back at once.

use std::time::Instant;

use gim_config::patience::Patience;
use redis::{Cmd, cmd};

use super::{
    RedisState, SharedStateError,
    client::read,
    scripts::{self, script},
    trial,
};
use crate::domain::clock;

impl RedisState {
    /// Becomes this logic node, and hears for the first time what others told.
    pub(super) async fn join(&self, mut patience: Patience) -> Result<(), SharedStateError> {
        loop {
            // Again after each wait: the leases of what was claimed may end meanwhile.
            self.become_this_node(&mut patience).await?;
            match self.hear().await {
                Err(SharedStateError::Away(problem)) => trial::wait(&mut patience, &problem).await?,
                // Nothing is remembered yet that could be out of date.
                heard => return heard.map(drop),
            }
        }
    }

    async fn become_this_node(&self, patience: &mut Patience) -> Result<(), SharedStateError> {
        let mut taken_since: Option<Instant> = None;
        loop {
            match self.claim().await {
                Ok(()) => return Ok(()),
                Err(SharedStateError::Away(problem)) => trial::wait(patience, &problem).await?,
                Err(error @ (SharedStateError::Taken { .. } | SharedStateError::OfAnotherDatabase { .. })) => {
                    if taken_since.is_none() {
                        tracing::info!(%error, "waiting to become this logic node");
                    }
                    if taken_since.get_or_insert_with(Instant::now).elapsed() > self.lease + self.lease / 2 {
                        return Err(error);
                    }
                    tokio::time::sleep(self.lease / 10).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes or keeps what this process needs to be the only one to have.
    pub(super) async fn claim(&self) -> Result<(), SharedStateError> {
        let command = |text: &str, key: &String, holder: &String| {
            let mut command = script(text, std::slice::from_ref(key));
            command.arg(holder).arg(self.lease_ms());
            command
        };
        let own = self.claims.iter().map(|key| (key, &self.holder));
        let claims: Vec<_> = std::iter::once((&self.common.0, &self.common.1)).chain(own).collect();
        let commands = claims
            .iter()
            .flat_map(|(key, holder)| [command(scripts::CLAIM, key, holder), command(scripts::RENEW, key, holder)]);
        let mut commands: Vec<Cmd> = commands.collect();
        commands.push(cmd("TIME"));
        let mut answers = self.client.prove(commands).await?;
        if let Some(time) = answers.pop() {
            let (seconds, micros): (i64, i64) = read(time)?;
            self.time.set(seconds * 1000 + micros / 1000, clock::now_ms());
        }
        for ((key, expected), answer) in claims.into_iter().zip(answers.into_iter().step_by(2)) {
            let holder: String = read(answer)?;
            if holder == *expected {
                continue;
            }
            if *key == self.common.0 {
                return Err(SharedStateError::OfAnotherDatabase { prefix: self.keys.prefix().to_owned() });
            }
            let what = key.rsplit_once("logic:").map_or(key.as_str(), |(_, what)| what).to_owned();
            return Err(SharedStateError::Taken { what, holder });
        }
        Ok(())
    }

    /// The numbers that no logic node holds in this Redis.
    pub(super) async fn without_claim(&self, numbers: &[u16]) -> Result<Vec<u16>, SharedStateError> {
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let holder = |&number: &u16| {
            let mut command = cmd("EXISTS");
            command.arg(self.keys.logic_number(number));
            command
        };
        let answers = self.client.run_all(numbers.iter().map(holder).collect()).await?;
        let held: Vec<bool> = answers.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(numbers.iter().zip(held).filter(|(_, is_held)| !is_held).map(|(number, _)| *number).collect())
    }

    /// Gives back what is still this process's.
    pub(super) async fn give_back(&self) -> Result<(), SharedStateError> {
        let release = |key: &String| {
            let mut command = script(scripts::RELEASE, std::slice::from_ref(key));
            command.arg(&self.holder);
            command
        };
        self.client.run_all(self.claims.iter().map(release).collect()).await.map(drop)
    }
}
