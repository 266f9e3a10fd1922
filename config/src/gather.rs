//! Group reading: questions that come while a read is under way share the next one.
//!
//! One Tokio task per [`Gatherer`] takes whatever has gathered and answers it with one call of its loader; the longer a read
//! takes, the more questions share the next. Always holds: an answer was read after its question was asked; the queue is
//! bounded, and who finds it full waits.

use std::{fmt, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

/// Questions that wait; further ones wait outside.
const QUEUE_MAX: usize = 4_096;

/// After a read of so many questions the next one waits a little, so that it is not one of few again: reads cost far more
/// than what is asked in them.
const BUSY_QUESTIONS: usize = 4;
/// So little that nobody notices, and enough for dozens of questions.
const PAUSE: Duration = Duration::from_millis(1);

/// Where questions are asked. Clones share the task, which ends with the last of them.
pub struct Gatherer<Q, A, E> {
    questions: mpsc::Sender<Question<Q, A, E>>,
}

type Question<Q, A, E> = (Q, oneshot::Sender<Result<A, E>>);

impl<Q, A, E> Clone for Gatherer<Q, A, E> {
    fn clone(&self) -> Self {
        Self { questions: self.questions.clone() }
    }
}

impl<Q, A, E> fmt::Debug for Gatherer<Q, A, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gatherer").finish_non_exhaustive()
    }
}

impl<Q, A, E> Gatherer<Q, A, E>
where
    Q: Send + 'static,
    A: Send + 'static,
    E: Clone + Send + 'static,
{
    /// Starts the task. `load` gets at most `batch_max` questions and answers all of them, in their order.
    pub fn start<F>(batch_max: usize, load: impl Fn(Vec<Q>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Vec<A>, E>> + Send,
    {
        let (questions, mut asked) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(async move {
            let mut batch: Vec<Question<Q, A, E>> = Vec::with_capacity(batch_max);
            while asked.recv_many(&mut batch, batch_max).await > 0 {
                let is_busy = batch.len() >= BUSY_QUESTIONS;
                let (questions, replies): (Vec<Q>, Vec<_>) = batch.drain(..).unzip();
                match load(questions).await {
                    Ok(answers) => {
                        debug_assert_eq!(answers.len(), replies.len());
                        replies.into_iter().zip(answers).for_each(|(reply, answer)| tell(reply, Ok(answer)));
                    }
                    Err(error) => replies.into_iter().for_each(|reply| tell(reply, Err(error.clone()))),
                }
                if is_busy && asked.len() < batch_max {
                    sleep(PAUSE).await;
                }
            }
        });
        Self { questions }
    }

    /// Asks, and waits for the read that answers it. `None` where the task is gone, because the service stops.
    pub async fn ask(&self, question: Q) -> Option<Result<A, E>> {
        let (reply, answer) = oneshot::channel();
        self.questions.send((question, reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Who asked may have left meanwhile.
fn tell<T>(reply: oneshot::Sender<T>, answer: T) {
    drop(reply.send(answer));
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn what_gathers_during_a_read_shares_the_next_one() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Semaphore::new(0));
        let gatherer = {
            let (sizes, gate) = (sizes.clone(), gate.clone());
            Gatherer::<u64, u64, ()>::start(4, move |questions| {
                sizes.lock().unwrap().push(questions.len());
                let gate = gate.clone();
                async move {
                    gate.acquire().await.unwrap().forget();
                    Ok(questions.into_iter().map(|question| question * 2).collect())
                }
            })
        };
        let mut asking = tokio::task::JoinSet::new();
        for question in 0..9 {
            let gatherer = gatherer.clone();
            asking.spawn(async move { (question, gatherer.ask(question).await) });
            tokio::task::yield_now().await;
        }
        gate.add_permits(9);
        for (question, answer) in asking.join_all().await {
            assert_eq!(answer, Some(Ok(question * 2)));
        }
        let sizes = sizes.lock().unwrap();
        assert_eq!(sizes.iter().sum::<usize>(), 9);
        assert!(sizes.len() < 9 && sizes.iter().all(|size| *size <= 4), "{sizes:?}");
    }

    #[tokio::test]
    async fn a_failed_read_fails_all_that_shared_it_and_the_next_one_may_succeed() {
        let gatherer = Gatherer::<bool, (), &'static str>::start(8, |questions| async move {
            if questions.contains(&false) { Err("away") } else { Ok(vec![(); questions.len()]) }
        });
        assert_eq!(gatherer.ask(false).await, Some(Err("away")));
        assert_eq!(gatherer.ask(true).await, Some(Ok(())));
    }
}
