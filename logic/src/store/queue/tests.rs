use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Wake},
};

use tokio::{sync::oneshot, task::JoinSet, time::timeout};

use super::*;
use crate::{
    domain::group::{GroupAction, MemberLimits},
    store::work::{Ack, GroupWork, Request},
};

/// Longer than anything takes that works.
const DEADLINE: Duration = Duration::from_secs(20);

fn queue(batch_rows_max: usize) -> Queue {
    Queue::new(InboxSettings { batch_rows_max, transaction_rows_min: 1, ..InboxSettings::default() })
}

/// A job about a user; which one it is shows by its seq.
fn push(queue: &Queue, user_id: u64, seq: u64) {
    let (reply, _) = oneshot::channel();
    let work = Work::Ack(Request { wants: Ack { user_id, device_id: 1, seq }, id: 0, reply });
    queue.push(Job { work, span: Span::none(), since: Instant::now(), floor: None }).unwrap();
}

fn seqs(batch: &Batch) -> Vec<u64> {
    let seq = |job: &Job| match &job.work {
        Work::Ack(request) => request.wants.seq,
        _ => 0,
    };
    batch.jobs.iter().map(seq).collect()
}

#[tokio::test]
async fn what_concerns_a_user_keeps_its_order_and_the_rest_overtakes() {
    let queue = queue(2);
    for (user_id, seq) in [(7, 1), (8, 2), (7, 3), (9, 4), (7, 5), (9, 6)] {
        push(&queue, user_id, seq);
    }
    let first = queue.take().await.unwrap();
    assert_eq!(seqs(&first), [1, 2]);
    let second = queue.take().await.unwrap();
    assert_eq!(seqs(&second), [4, 6], "those of 7 wait for the first batch");
    assert!(queue.lock().take(&queue.settings, Instant::now()).jobs.is_empty());
    queue.release(&first.into_parts().1, Vec::new());
    assert_eq!(seqs(&queue.take().await.unwrap()), [3, 5]);
}

#[tokio::test]
async fn few_requests_wait_for_more_beside_a_batch_but_not_for_long() {
    let queue = Queue::new(InboxSettings { transaction_rows_min: 3, ..InboxSettings::default() });
    push(&queue, 1, 1);
    let first = queue.take().await.unwrap();
    push(&queue, 2, 2);
    let before = Instant::now();
    assert_eq!(seqs(&queue.take().await.unwrap()), [2]);
    assert!(before.elapsed() >= PATIENCE, "it waited");

    for user_id in 3..6 {
        assert!(!queue.is_worth_a_batch(&queue.lock(), Cost::default(), Instant::now()));
        push(&queue, user_id, user_id);
    }
    assert!(queue.is_worth_a_batch(&queue.lock(), Cost::default(), Instant::now()), "enough are taken at once");
    assert_eq!(seqs(&queue.take().await.unwrap()), [3, 4, 5]);

    push(&queue, 1, 6);
    let (held, ()) = tokio::join!(queue.take(), async { queue.release(&first.into_parts().1, Vec::new()) });
    assert_eq!(seqs(&held.unwrap()), [6], "who waits for a batch comes after it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_is_forgotten_whichever_of_several_tasks_hears_of_it() {
    const USERS: u64 = 8;
    const REQUESTS: u64 = 4_000;
    let settings = InboxSettings { transaction_rows_min: 16, batch_rows_max: 32, ..InboxSettings::default() };
    let queue = Arc::new(Queue::new(settings));
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let queue = queue.clone();
        tasks.spawn(async move {
            let mut taken = Vec::new();
            while let Some(batch) = queue.take().await {
                taken.extend(seqs(&batch));
                tokio::task::yield_now().await;
                queue.release(&batch.into_parts().1, Vec::new());
            }
            taken
        });
    }
    for seq in 0..REQUESTS {
        push(&queue, seq % USERS, seq);
        // Now and then all that is there is taken, and everybody waits.
        if seq % 100 == 0 {
            let emptied = async {
                while !queue.lock().waiting.is_empty() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(DEADLINE, emptied).await.expect("the last one is taken too");
        }
    }
    queue.close();
    let mut taken = timeout(DEADLINE, tasks.join_all()).await.expect("all tasks end").concat();
    taken.sort_unstable();
    assert_eq!(taken, (0..REQUESTS).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_waits_for_a_batch_wakes_nobody_and_what_does_not_wakes_one() {
    let queue = Queue::new(InboxSettings { transaction_rows_min: 50, ..InboxSettings::default() });
    push(&queue, 7, 1);
    let first = queue.take().await.unwrap();
    let wakes = Arc::new(Wakes::default());
    let waker = wakes.clone().into();
    let mut take = pin!(queue.take());
    let mut is_ready = || take.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
    assert!(!is_ready());
    (2..100).for_each(|seq| push(&queue, 7, seq));
    assert_eq!(wakes.0.load(Relaxed), 0);
    push(&queue, 8, 100);
    assert_eq!(wakes.0.load(Relaxed), 1);
    assert!(is_ready());
    queue.release(&first.into_parts().1, Vec::new());
    assert_eq!(seqs(&queue.take().await.unwrap()), (2..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_few_requests_that_wait_for_nothing_are_not_held_up_by_those_that_do() {
    let queue = Queue::new(InboxSettings { transaction_rows_min: 50, ..InboxSettings::default() });
    push(&queue, 7, 1);
    let _under_way = queue.take().await.unwrap();
    let (batch, ()) = tokio::join!(queue.take(), async {
        push(&queue, 7, 2);
        push(&queue, 8, 3);
    });
    assert_eq!(seqs(&batch.unwrap()), [3]);
}

/// A queue whose last batch was shared by users 1 and 2 and took very long; user 3 waited meanwhile.
async fn queue_after_a_shared_batch(settings: InboxSettings) -> Queue {
    let queue = Queue::new(InboxSettings { transaction_rows_min: 50, ..settings });
    push(&queue, 1, 1);
    push(&queue, 2, 2);
    let shared = queue.take().await.unwrap();
    push(&queue, 3, 3);
    queue.lock().under_way.values_mut().for_each(|begun_at| *begun_at -= Duration::from_secs(60));
    queue.release(&shared.into_parts().1, Vec::new());
    queue
}

#[tokio::test]
async fn those_who_come_soon_after_a_shared_batch_wait_for_more() {
    let queue =
        queue_after_a_shared_batch(InboxSettings { transaction_interval_ms_max: 60_000, ..InboxSettings::default() })
            .await;
    let now = Instant::now();
    let is_taken = || queue.is_worth_a_batch(&queue.lock(), Cost::default(), now);
    assert!(!is_taken(), "its transaction would cost as much as one of many");
    push(&queue, 1, 4);
    assert!(!is_taken(), "user 2 was answered too, and is not back");
    push(&queue, 2, 5);
    assert!(is_taken());
    assert_eq!(seqs(&queue.take().await.unwrap()), [3, 4, 5]);
}

#[tokio::test]
async fn whoever_waits_for_more_does_so_as_long_as_the_settings_say() {
    let queue =
        queue_after_a_shared_batch(InboxSettings { transaction_interval_ms_max: 10, ..InboxSettings::default() }).await;
    let begun_at = queue.lock().interval.due_at(1).unwrap() - Duration::from_millis(10);
    let batch = timeout(DEADLINE, queue.take()).await.expect("it is taken").unwrap();
    assert_eq!(seqs(&batch), [3]);
    assert!(begun_at.elapsed() >= Duration::from_millis(10), "it waited");
}

#[derive(Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[tokio::test]
async fn a_closed_queue_hands_out_what_it_took_on() {
    let queue = queue(10);
    push(&queue, 7, 1);
    let first = queue.take().await.unwrap();
    push(&queue, 7, 2);
    queue.close();
    queue.release(&first.into_parts().1, Vec::new());
    assert_eq!(seqs(&queue.take().await.unwrap()), [2]);
    assert!(queue.take().await.is_none());
}

/// A send to a group, whose rows are guessed.
fn group_send(user_id: u64, group_id: u64) -> Job {
    let (reply, _) = oneshot::channel();
    let wants = GroupWork {
        group_id,
        actor: Some(user_id),
        action: GroupAction::Send,
        messages: Vec::new(),
        not_told: Vec::new(),
        limits: MemberLimits { normal: 500, large: 500 },
        client_msg_id: None,
        origin_device_id: 0,
        request_id: "".into(),
    };
    Job {
        work: Work::Group(Request { wants: Box::new(wants), id: 0, reply }),
        span: Span::none(),
        since: Instant::now(),
        floor: None,
    }
}

#[tokio::test]
async fn one_user_has_a_share_of_a_batch_and_others_come_first() {
    let queue = Queue::new(InboxSettings { batch_user_rows_max: 1_100, ..InboxSettings::default() });
    queue.note_group_rows([(900, 500)].into_iter());
    (0..8).for_each(|_| queue.push(group_send(7, 900)).unwrap());
    (1..=20).for_each(|seq| push(&queue, 100 + seq, seq));
    let first = queue.take().await.unwrap();
    assert_eq!(seqs(&first), [&[0][..], &(1..=20).collect::<Vec<_>>(), &[0]].concat(), "two of 500 rows are a share");
    queue.release(&first.into_parts().1, Vec::new());
    assert_eq!(queue.take().await.unwrap().jobs.len(), 2);
}

#[tokio::test]
async fn a_user_is_refused_beyond_a_share_of_the_queue_and_nobody_else_is() {
    let queue = Queue::new(InboxSettings { queue_user_rows_max: 1_200, ..InboxSettings::default() });
    queue.note_group_rows([(900, 500)].into_iter());
    let results: Vec<_> = (0..4).map(|_| queue.push(group_send(7, 900))).collect();
    assert!(matches!(&results[..], [Ok(()), Ok(()), Err(StoreError::TooMany(_)), Err(StoreError::TooMany(_))]));
    push(&queue, 8, 1);
    let first = queue.take().await.unwrap();
    queue.push(group_send(7, 900)).expect("what is under way does not wait");
    drop(first);
    let bytes = Queue::new(InboxSettings { queue_user_bytes_max: 600, ..InboxSettings::default() });
    push(&bytes, 7, 1);
    assert!((0..3).any(|_| bytes.push(group_send(7, 900)).is_err()), "bytes count too");
}

#[tokio::test]
async fn what_did_not_fit_is_first_in_its_flow_again() {
    let queue = queue(100);
    (1..=4).for_each(|seq| push(&queue, 7, seq));
    let (mut jobs, held) = queue.take().await.unwrap().into_parts();
    push(&queue, 7, 5);
    let left = jobs.split_off(1);
    queue.release(&held, left);
    assert_eq!(seqs(&queue.take().await.unwrap()), [2, 3, 4, 5]);
}

#[tokio::test]
async fn the_age_of_what_waits_and_of_a_batch_that_hangs_is_told() {
    let (queue, began) = (queue(1), Instant::now());
    assert_eq!(queue.ages(began), (Duration::ZERO, Duration::ZERO));
    push(&queue, 7, 1);
    push(&queue, 8, 2);
    let minute = Duration::from_secs(60);
    let between = Instant::now();
    let (waiting, under_way) = queue.ages(between + minute);
    assert!(waiting >= minute && under_way == Duration::ZERO, "{waiting:?}");
    let first = queue.take().await.unwrap();
    assert_eq!(seqs(&first), [1]);
    let (waiting, under_way) = queue.ages(Instant::now() + minute);
    assert!(waiting >= minute && under_way >= minute, "{waiting:?} {under_way:?}");
    assert!(under_way <= minute + between.elapsed(), "since the batch was taken");

    let (jobs, held) = first.into_parts();
    queue.release(&held, jobs);
    let (waiting, under_way) = queue.ages(between + minute);
    assert!(waiting >= minute && under_way == Duration::ZERO, "what did not fit waits since it came");
}
