//! What goes on at a connection that carries files, and when it has to end.
//!
//! On the tasks of connections and requests. Always holds: a connection is ended for what its client does, or does not do, and never for
//! what takes long here.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::request_places::RequestPlace;

/// What has to go over a busy connection within the timeout of an idle one, and in each of its bodies for which the client is waited.
const BYTES_MIN: u64 = 16 * 1_024;
/// What counts of more than that for later: a body is taken by chunks, which the client may be long in reading.
const AHEAD_MAX: i64 = 128 * 1_024;
/// So many bodies are remembered before those that ended are looked for.
const BODIES_KEPT: usize = 64;

/// It stands in the extensions of every request. Clones mean the same connection.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    /// Requests that are not answered to their end.
    requests: AtomicUsize,
    /// Of those, the ones that were refused, and whose rest is only read.
    refused: AtomicUsize,
    /// Of those, the ones for which something is done here, or would be, if the client had sent more.
    working: AtomicUsize,
    /// Of those, the ones that wait for the client.
    awaiting: AtomicUsize,
    /// How often a request came while there was no other one.
    beginnings: AtomicU64,
    bodies: Mutex<Vec<Weak<BodyCounts>>>,
}

/// Of one body, in either direction.
#[derive(Debug)]
struct BodyCounts {
    /// What went, less what had to go, since it began.
    ahead: AtomicI64,
    /// Its client has to do something: bring bytes, or take what is there.
    waits_for_client: AtomicBool,
}

/// Counts while it is held.
#[must_use = "it counts only while it is held"]
#[derive(Debug)]
pub struct Counted(Arc<Counts>, fn(&Counts) -> &AtomicUsize);

/// What had gone on at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    bytes: u64,
    beginnings: u64,
}

impl Activity {
    /// A request, until its answer is taken.
    pub fn request(&self) -> Counted {
        let counted = self.counted(|counts| &counts.requests);
        if self.0.requests.load(Relaxed) == 1 {
            self.0.beginnings.fetch_add(1, Relaxed);
        }
        counted
    }

    /// A request was refused: what its client sends all the same keeps nobody else from this place.
    pub fn refused(&self) -> Counted {
        self.counted(|counts| &counts.refused)
    }

    /// Something is done for a request, unless its body is awaited.
    pub fn working(&self) -> Counted {
        self.counted(|counts| &counts.working)
    }

    /// Bytes went over the connection.
    pub fn note(&self, count: usize) {
        self.0.bytes.fetch_add(count as u64, Relaxed);
    }

    /// All that went.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Relaxed)
    }

    /// Whether nobody misses the connection if it ends.
    pub fn is_idle(&self) -> bool {
        self.0.requests.load(Relaxed) <= self.0.refused.load(Relaxed)
    }

    /// What has gone on until now.
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.0.bytes.load(Relaxed), beginnings: self.0.beginnings.load(Relaxed) }
    }

    /// Why a connection has to end over which no more went since `before`, a timeout ago.
    pub fn fault_since(&self, before: Mark) -> Option<&'static str> {
        let now = self.mark();
        let bytes = now.bytes - before.bytes;
        let is_busy_here = self.0.working.load(Relaxed) > self.0.awaiting.load(Relaxed);
        let was_free = self.is_idle() || now.beginnings != before.beginnings;
        match bytes {
            _ if is_busy_here => None,
            0 => Some("silent"),
            1..BYTES_MIN if !was_free => Some("slow"),
            _ => None,
        }
    }

    /// Whether one of the bodies goes too slowly, whatever else went over the connection; asked once within each timeout.
    pub fn has_slow_body(&self) -> bool {
        let mut bodies = self.0.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.retain(|body| body.strong_count() > 0);
        let bodies = bodies.iter().filter_map(Weak::upgrade).filter(|body| body.waits_for_client.load(Relaxed));
        bodies.fold(false, |is_slow, body| {
            let ahead = body.ahead.load(Relaxed).min(AHEAD_MAX) - BYTES_MIN as i64;
            body.ahead.store(ahead, Relaxed);
            is_slow || ahead < 0
        })
    }

    fn body(&self) -> Arc<BodyCounts> {
        // The first timeout is over soon for a body that begins late in it.
        let body = BodyCounts { ahead: AtomicI64::new(BYTES_MIN as i64), waits_for_client: AtomicBool::new(false) };
        let body = Arc::new(body);
        let mut bodies = self.0.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        if bodies.len() >= BODIES_KEPT {
            bodies.retain(|body| body.strong_count() > 0);
        }
        bodies.push(Arc::downgrade(&body));
        body
    }

    fn counted(&self, of: fn(&Counts) -> &AtomicUsize) -> Counted {
        of(&self.0).fetch_add(1, Relaxed);
        Counted(self.0.clone(), of)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1(&self.0).fetch_sub(1, Relaxed);
    }
}

/// A body of which it is known whether it is waited for.
pub struct Watched<B> {
    body: B,
    activity: Activity,
    /// Held while the next bytes are not there.
    count_waits: fn(&Activity) -> Counted,
    waits: Option<Counted>,
    counts: Arc<BodyCounts>,
    /// Its client is waited for as long as the next bytes are not there, or as soon as they are.
    is_of_request: bool,
    _held: Option<(Counted, RequestPlace)>,
}

impl<B> Watched<B> {
    /// The body of a request: its client is waited for.
    pub fn of_request(body: B, activity: &Activity) -> Self {
        let count_waits = |activity: &Activity| activity.counted(|counts| &counts.awaiting);
        let (counts, activity) = (activity.body(), activity.clone());
        Self { body, activity, count_waits, waits: None, counts, is_of_request: true, _held: None }
    }
}

impl Watched<Body> {
    /// The body of an answer, with which its request ends: the disk or the bucket is waited for.
    pub fn of_answer(body: Body, activity: &Activity, request: Counted, place: RequestPlace) -> Self {
        let (counts, activity, _held) = (activity.body(), activity.clone(), Some((request, place)));
        Self { body, activity, count_waits: Activity::working, waits: None, counts, is_of_request: false, _held }
    }
}

impl<B: hyper::body::Body<Data = Bytes> + Unpin> hyper::body::Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.waits = None;
        } else if self.waits.is_none() {
            self.waits = Some((self.count_waits)(&self.activity));
        }
        self.counts.waits_for_client.store(self.is_of_request == polled.is_pending(), Relaxed);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.counts.ahead.fetch_add(bytes as i64, Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_connection_has_a_least_rate_and_an_idle_one_is_not_silent() {
        let activity = Activity::default();
        let start = activity.mark();
        assert_eq!(activity.fault_since(start), Some("silent"));
        activity.note(1);
        assert_eq!(activity.fault_since(start), None, "nobody waits for anything");
        let request = activity.request();
        assert_eq!(activity.fault_since(start), None, "it began meanwhile");
        let begun = activity.mark();
        activity.note(BYTES_MIN as usize - 1);
        assert_eq!(activity.fault_since(begun), Some("slow"));
        activity.note(1);
        assert_eq!(activity.fault_since(begun), None);
        drop(request);
        assert!(activity.is_idle());
    }

    #[test]
    fn what_takes_long_here_is_no_silence() {
        let activity = Activity::default();
        let (_request, working) = (activity.request(), activity.working());
        let begun = activity.mark();
        assert_eq!(activity.fault_since(begun), None, "the disk, the database");
        let awaiting = activity.counted(|counts| &counts.awaiting);
        assert_eq!(activity.fault_since(begun), Some("silent"), "the client");
        drop(awaiting);
        assert_eq!(activity.fault_since(begun), None);
        drop(working);
        assert_eq!(activity.fault_since(begun), Some("silent"), "an answer that nobody takes");
    }

    #[test]
    fn a_body_that_its_client_lets_wait_is_slow_whatever_else_goes() {
        let activity = Activity::default();
        let (stalled, ended) = (activity.body(), activity.body());
        drop(ended);
        assert!(!activity.has_slow_body() && !activity.has_slow_body(), "something is done for it here");
        stalled.waits_for_client.store(true, Relaxed);
        assert!(!activity.has_slow_body(), "it began meanwhile");
        activity.note(1_000_000);
        assert!(activity.has_slow_body());
        stalled.ahead.store(1_000_000, Relaxed);
        let timeouts = AHEAD_MAX as u64 / BYTES_MIN;
        assert!((0..timeouts).all(|_| !activity.has_slow_body()), "a chunk is read for long");
        assert!(activity.has_slow_body());
        for _ in 0..2 * BODIES_KEPT {
            activity.body();
        }
        assert!(activity.0.bodies.lock().unwrap().len() <= BODIES_KEPT);
    }

    #[test]
    fn a_refused_request_keeps_no_place() {
        let activity = Activity::default();
        let _request = activity.request();
        assert!(!activity.is_idle());
        let refused = activity.refused();
        assert!(activity.is_idle());
        let _other = activity.request();
        assert!(!activity.is_idle());
        drop(refused);
        assert!(!activity.is_idle());
    }
}
