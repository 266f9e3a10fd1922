//! Names of the gRPC metadata that PROTOCOL.md part 3 lists, and how to put them on a request.

use tonic::{Request, metadata::MetadataValue};

/// Who calls an `*ExtService`: the user's id in decimal.
pub const USER_ID: &str = "user_id";
/// From which device.
pub const DEVICE_ID: &str = "device_id";
/// With which token.
pub const TOKEN: &str = "token";
/// Runs through every log line that the request causes, from packet to database.
pub const REQUEST_ID: &str = "request_id";
/// What a caller of an `*IntService` shows beyond loopback.
pub const INTERNAL_TOKEN: &str = "internal_token";

/// That one of our services, which shows what callers of an `*IntService` have to show, knows the caller itself: no token is asked for.
pub const VOUCHED: &str = "vouched";
/// For whom one of our services hands on a call, which shows the same: bounds of addresses count that one and not the service's.
pub const CLIENT_ADDRESS: &str = "client_address";
/// The trace that a call belongs to, as W3C has it.
pub const TRACE_PARENT: &str = "traceparent";

/// Longest request id. It is repeated in a reply and stands in logs: a packet with a longer one is refused, and one from the
/// metadata of a call is cut.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// Puts `value` under `name`; a value that cannot stand in a header (control characters) is left out.
pub fn put<T>(request: &mut Request<T>, name: &'static str, value: &str) {
    if let Ok(value) = MetadataValue::try_from(value) {
        request.metadata_mut().insert(name, value);
    }
}

/// A text from the metadata, where it is there and is ASCII.
pub fn text<'a, T>(request: &'a Request<T>, name: &str) -> Option<&'a str> {
    request.metadata().get(name)?.to_str().ok()
}

/// A request that says who calls: what every `*ExtService` asks for.
pub fn signed<T>(message: T, user_id: u64, device_id: u64, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    put(&mut request, USER_ID, &user_id.to_string());
    put(&mut request, DEVICE_ID, &device_id.to_string());
    put(&mut request, TOKEN, token);
    request
}
