//! What goes on at a connection that carries files, and when it has to end.
//!
//! On the tasks of connections and requests. Always holds: a connection is ended for what its client does, or does not do, and never for
//! what takes long here.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// What has to go over a busy connection within the timeout of an idle one.
const BYTES_MIN: u64 = 16 * 1_024;

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
    _request: Option<Counted>,
}

impl<B> Watched<B> {
    /// The body of a request: its client is waited for.
    pub fn of_request(body: B, activity: &Activity) -> Self {
        let count_waits = |activity: &Activity| activity.counted(|counts| &counts.awaiting);
        Self { body, activity: activity.clone(), count_waits, waits: None, _request: None }
    }
}

impl Watched<Body> {
    /// The body of an answer, with which its request ends: the disk or the bucket is waited for.
    pub fn of_answer(body: Body, activity: &Activity, request: Counted) -> Self {
        Self { body, activity: activity.clone(), count_waits: Activity::working, waits: None, _request: Some(request) }
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
