//! In which order the transactions of the inbox writer hand over what they wrote.
//!
//! A transaction takes its turn when it holds the counters of all its users. One that shares a user with it gets that
//! counter, and so its turn, only after it is committed; hence turns are in the order of the seqs of every user. Always
//! holds: whoever has waited for his turn is the only one, until he drops it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Those who took a turn and did not drop it yet.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    taken: BTreeSet<u64>,
}

/// A place in the order.
#[derive(Debug)]
pub(super) struct Turn {
    number: u64,
    turns: Arc<Turns>,
}

impl Turns {
    /// Takes the next turn.
    pub(super) fn take(self: &Arc<Self>) -> Turn {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.taken.insert(number);
        Turn { number, turns: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Waits until all earlier turns are over.
    pub(super) async fn come(&self) {
        loop {
            let mut moved = std::pin::pin!(self.turns.moved.notified());
            moved.as_mut().enable();
            if self.turns.lock().taken.first() == Some(&self.number) {
                return;
            }
            moved.await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().taken.remove(&self.number);
        self.turns.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::mpsc, task::yield_now};

    use super::*;

    #[tokio::test]
    async fn turns_come_in_order_and_a_dropped_one_holds_nobody_up() {
        let turns = Arc::new(Turns::default());
        let (first, second, third) = (turns.take(), turns.take(), turns.take());
        let (told, mut order) = mpsc::unbounded_channel();
        for turn in [third, first] {
            let told = told.clone();
            tokio::spawn(async move {
                turn.come().await;
                told.send(turn.number).unwrap();
            });
        }
        assert_eq!(order.recv().await, Some(0));
        yield_now().await;
        assert!(order.try_recv().is_err(), "the second did not come yet");
        drop(second);
        assert_eq!(order.recv().await, Some(2));
    }
}
