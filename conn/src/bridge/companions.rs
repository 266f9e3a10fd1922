//! Whether the logic nodes of an app belong together: of two that share nothing, one would not know of the users and rooms of the other.
//! Links share it; the lock is held for moments.

use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use gim_proto::logic::Welcome;
use tonic::Status;

/// The logic nodes that are attached, by their links.
#[derive(Debug, Default)]
pub(super) struct Companions(Mutex<HashMap<u64, Welcome>>);

impl Companions {
    /// Takes a node in over a link, unless it says that it shares nothing with one that is in already.
    pub(super) fn admit(&self, link: u64, welcome: &Welcome) -> Result<(), Status> {
        let mut attached = self.lock();
        let is_other = |other: &&Welcome| {
            let both = [&welcome.deployment, &other.deployment];
            both[0] != both[1] && both.iter().all(|deployment| !deployment.is_empty())
        };
        if let Some(other) = attached.values().find(is_other) {
            return Err(Status::failed_precondition(format!(
                "{} does not belong to {}, which is attached: give all logic nodes the same database.url, shared_state.url and \
                 shared_state.key_prefix",
                welcome.node, other.node
            )));
        }
        attached.insert(link, welcome.clone());
        Ok(())
    }

    /// A link begins to leave its node, or its stream ended.
    pub(super) fn leave(&self, link: u64) {
        self.lock().remove(&link);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Welcome>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(node: &str, deployment: &str) -> Welcome {
        Welcome { node: node.into(), deployment: deployment.into(), ..Welcome::default() }
    }

    #[test]
    fn a_logic_node_that_shares_nothing_with_others_is_named_and_kept_out() {
        let companions = Companions::default();
        companions.admit(1, &welcome("logic-1", "a")).unwrap();
        companions.admit(2, &welcome("logic-2", "a")).unwrap();
        companions.admit(3, &welcome("logic-of-before", "")).unwrap();
        let refused = companions.admit(4, &welcome("logic-4", "b")).unwrap_err();
        assert!(refused.message().starts_with("logic-4 does not belong to logic-"), "{refused}");
        for link in [1, 2] {
            assert!(companions.admit(4, &welcome("logic-4", "b")).is_err());
            companions.leave(link);
        }
        companions.admit(4, &welcome("logic-4", "b")).unwrap();
    }
}
