//! A peer that is called, and what is said of a call that did not get there: whom it was for, why, and which setting may be wrong.
//!
//! On the tasks of calls. Always holds: what the peer itself answered stays as it is; and only of one that never answered is it
//! said that it may speak something else.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Instant,
};

use tonic::{Status, TimeoutExpired};

use super::root_cause;
use crate::listen::Endpoint;

type BoxError = Box<dyn Error + Send + Sync>;

/// See the module.
#[derive(Debug)]
pub(super) struct CalledPeer {
    /// Its address, as the settings say it or its name was looked up.
    name: String,
    has_answered: AtomicBool,
}

impl CalledPeer {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Self { name: endpoint.to_string(), has_answered: AtomicBool::new(false) }
    }

    /// The same answer, of which it is remembered that there was one.
    pub(super) fn noted<T, E>(&self, answer: Result<T, E>) -> Result<T, E> {
        if answer.is_ok() && !self.has_answered.load(Relaxed) {
            self.has_answered.store(true, Relaxed);
        }
        answer
    }

    /// What failed, with the name of the peer where the call did not get there, or was not answered since it `began`.
    pub(super) fn named(&self, error: BoxError, began: Instant) -> BoxError {
        if chain(&*error).any(|error| error.is::<TimeoutExpired>()) {
            let waited_ms = began.elapsed().as_millis();
            return Status::deadline_exceeded(format!("{}: no answer within {waited_ms} ms", self.name)).into();
        }
        match self.problem(&*error) {
            Some(problem) => Status::unavailable(problem).into(),
            None => error,
        }
    }

    fn problem(&self, error: &(dyn Error + 'static)) -> Option<String> {
        let cause = root_cause(error);
        let hint = self.hint(&cause, error);
        let is_unreached = chain(error).any(|error| error.is::<tonic::ConnectError>());
        (is_unreached || hint.is_some()).then(|| format!("{}: {cause}{}", self.name, hint.unwrap_or_default()))
    }

    /// What may be wrong in the settings, where it can be guessed.
    fn hint(&self, cause: &str, error: &(dyn Error + 'static)) -> Option<&'static str> {
        let is_broken = |error: &hyper::Error| !error.is_timeout();
        let is_strange = chain(error).filter_map(|error| error.downcast_ref()).any(is_broken);
        let guess = |hint| (is_strange && !self.has_answered.load(Relaxed)).then_some(hint);
        match self.name.starts_with("https://") {
            true => hint_of_tls(cause).or_else(|| guess(NOT_TAKEN)),
            false => guess(" (it may speak TLS: does https:// belong here? Or is it not the port of a [grpc] listen?)"),
        }
    }
}

const STRANGE_PEER: &str = " (it is not of an authority in our grpc.server_ca)";
const NOT_TAKEN: &str = " (it may not take our grpc.certificate: is that of an authority in its grpc.client_ca?)";

fn hint_of_tls(cause: &str) -> Option<&'static str> {
    let hints = [
        ("InvalidContentType", " (it speaks no TLS: does http:// belong here?)"),
        ("UnknownIssuer", STRANGE_PEER),
        // Another authority of the same name signed it.
        ("BadSignature", STRANGE_PEER),
        ("received fatal alert", NOT_TAKEN),
    ];
    hints.iter().find(|(said, _)| cause.contains(said)).map(|(_, hint)| *hint)
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
