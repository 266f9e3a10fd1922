//! Who asks, and by which request.

use std::{ops::Deref, sync::Arc};

use gim_config::traces;
use gim_proto::{metadata::REQUEST_ID_BYTES_MAX, trace::TraceContext};

/// A user on a device, once the token was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Who.
    pub user_id: u64,
    /// From where.
    pub device_id: u64,
}

/// The request for which something is done: what it is called in the logs of all services, and where in a trace it is. Made from the id, in
/// the task of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTag {
    id: Arc<str>,
    /// Its span, where the trace is kept.
    pub trace: TraceContext,
}

impl From<&str> for RequestTag {
    fn from(id: &str) -> Self {
        Self { id: id.into(), trace: traces::current() }
    }
}

impl Deref for RequestTag {
    type Target = str;

    fn deref(&self) -> &str {
        &self.id
    }
}

/// As much of a request id as logs take.
pub fn log_id(request_id: &str) -> &str {
    &request_id[..request_id.floor_char_boundary(REQUEST_ID_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_request_id_is_cut_between_characters() {
        assert_eq!(log_id("abc"), "abc");
        assert_eq!(log_id(&"é".repeat(80)).len(), 128);
        assert_eq!(log_id(&format!("x{}", "é".repeat(80))).len(), 127);
    }
}
