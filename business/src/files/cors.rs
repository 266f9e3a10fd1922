//! Which pages of browsers may upload and read: those of the settings, and the chat page of this service on the same host.
//!
//! On the tasks of requests, before anything else is looked at. Whoever is no page says nothing of an origin and is let in.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::net::IpAddr;

use super::{Files, refusal::FileRefusal};

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// What pages may say.
const ALLOWED_HEADERS: &str = "content-type, user_id, device_id, token, request_id, range, if-range, if-none-match, tus-resumable, \
                               upload-length, upload-offset, upload-metadata, upload-checksum, x-requested-with, x-request-id, x-http-method-override";
/// What pages may read of an answer.
const EXPOSED_HEADERS: &str = "location, retry-after, etag, content-range, content-disposition, accept-ranges, tus-resumable, tus-version, \
                               tus-extension, tus-max-size, tus-checksum-algorithm, upload-offset, upload-length, upload-expires, \
                               upload-metadata";
/// How long, in seconds, a browser remembers what it may do.
const ALLOWED_FOR_S: &str = "7200";

/// Lets a request through, or refuses it.
pub async fn let_in(State(files): State<Files>, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else { return told(next.run(request).await) };
    let is_let_in = is_listed(&origin, &files.settings.origins)
        || is_own_page(&origin, host_of(request.uri(), request.headers()), files.page_port);
    // Who has a URL may read by it; there is nothing else that a page could borrow from its reader.
    let is_reading =
        matches!(*request.method(), Method::GET | Method::HEAD) && !request.headers().contains_key("token");
    if !is_let_in && !is_reading {
        return FileRefusal::other_origin().into_response();
    }
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut answer = if is_preflight { preflight() } else { next.run(request).await };
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    told(answer)
}

/// What every answer says, as a picture that a page embeds is asked for without an origin, and the same answer is used again for a page
/// that reads it.
fn told(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    // A page that is shown under other rules may embed what it may read.
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    answer
}

fn preflight() -> Response {
    let allowed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, ALLOWED_FOR_S),
    ];
    (StatusCode::NO_CONTENT, allowed).into_response()
}

fn is_listed(origin: &HeaderValue, origins: &[String]) -> bool {
    origins.iter().any(|listed| origin == listed.as_str())
}

/// As whom the client addresses us.
fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    let of_header = || headers.get(header::HOST)?.to_str().ok();
    uri.authority().map(|authority| authority.as_str()).or_else(of_header).unwrap_or_default()
}

/// The chat page, where both are reached by the same address, or by the name of this host: of any other name it cannot be told whether it
/// is ours.
fn is_own_page(origin: &HeaderValue, host: &str, page_port: u16) -> bool {
    let parts = || {
        let (name, port) = origin.to_str().ok()?.strip_prefix("http://")?.rsplit_once(':')?;
        Some((name, port.parse::<u16>().ok()?))
    };
    let Some((name, port)) = parts() else { return false };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_address = name == "localhost" || bare.parse::<IpAddr>().is_ok();
    let is_same_host = host.rsplit_once(':').is_some_and(|(own, _)| own == name);
    page_port != 0 && port == page_port && is_address && is_same_host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_let_in_if_it_is_listed_or_our_own() {
        let value = |text: &'static str| HeaderValue::from_static(text);
        let listed = ["https://app.example.com".to_owned()];
        assert!(is_listed(&value("https://app.example.com"), &listed));
        assert!(!is_listed(&value("https://app.example.com.evil.test"), &listed));
        assert!(is_own_page(&value("http://127.0.0.1:8022"), "127.0.0.1:8023", 8022));
        assert!(is_own_page(&value("http://localhost:8022"), "localhost:8023", 8022));
        assert!(is_own_page(&value("http://[::1]:8022"), "[::1]:8023", 8022));
        for (origin, host, port) in [
            ("http://127.0.0.1:8024", "127.0.0.1:8023", 8022),
            ("http://127.0.0.1:8022", "192.0.2.1:8023", 8022),
            ("http://evil.test:8022", "evil.test:8023", 8022),
            ("https://127.0.0.1:8022", "127.0.0.1:8023", 8022),
            ("http://127.0.0.1:0", "127.0.0.1:8023", 0),
            ("null", "127.0.0.1:8023", 8022),
        ] {
            assert!(!is_own_page(&value(origin), host, port), "{origin} {host}");
        }
    }
}
