//! Asks `GET /locate` where to connect. One question at a time, in a task of its own.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::task::AbortHandle;

use crate::{
    core::Located,
    transport::{Address, Scheme, Tls, TransportError, open},
};

const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Nodes that are tried of those that it names.
const NODES_MAX: usize = 64;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocateError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("Locate: {0}")]
    Http(#[from] hyper::Error),
    #[error("Locate answers {0}")]
    Status(StatusCode),
    #[error("Locate answers what is no list of nodes")]
    Answer,
}

/// The nodes that may be tried, best first. `room_id` is the room that is about to be entered; 0 for none.
pub(crate) async fn locate(url: &str, room_id: u64, tls: &Tls) -> Result<Located, LocateError> {
    let mut address = Address::parse(url)?;
    if !matches!(address.scheme, Scheme::Http | Scheme::Https) {
        return Err(TransportError::Address(url.to_owned()).into());
    }
    if room_id != 0 {
        let separator = if address.path.contains('?') { '&' } else { '?' };
        address.path = format!("{}{separator}room_id={room_id}", address.path);
    }
    let body = get(&address, tls).await?;
    let answer: Value = serde_json::from_slice(&body).map_err(|_| LocateError::Answer)?;
    located(&answer, address.scheme.is_in_tls()).ok_or(LocateError::Answer)
}

async fn get(address: &Address, tls: &Tls) -> Result<Bytes, LocateError> {
    let stream = open(address, tls).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _connection = AbortOnDrop(tokio::spawn(connection).abort_handle());
    let request = Request::get(&address.path).header(HOST, &address.authority).body(Empty::<Bytes>::new());
    let request = request.map_err(|_| TransportError::Address(address.path.clone()))?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(LocateError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok(body.map_err(|_| LocateError::Answer)?.to_bytes())
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One URL of each node: whoever asked by TLS connects by TLS, others as it costs least.
fn located(answer: &Value, is_in_tls: bool) -> Option<Located> {
    let nodes = answer["nodes"].as_array()?;
    let urls = nodes.iter().take(NODES_MAX).filter_map(|node| {
        let of = |name: &str| node[name].as_str().filter(|address| !address.is_empty());
        let secure = of("tls").map(|address| format!("tls://{address}")).or_else(|| of("wss").map(str::to_owned));
        let plain = of("tcp").map(|address| format!("tcp://{address}")).or_else(|| of("ws").map(str::to_owned));
        if is_in_tls { secure } else { plain.or(secure) }
    });
    Some(Located {
        urls: urls.collect(),
        heartbeat_ms: answer["heartbeat_s"].as_u64().unwrap_or(0).saturating_mul(1000),
        first_ms: answer["backoff"]["first_ms"].as_u64().unwrap_or(0),
        max_ms: answer["backoff"]["max_ms"].as_u64().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whoever_asked_by_tls_is_sent_to_no_place_without_it() {
        let answer = json!({
            "nodes": [
                {"tcp": "one:1", "ws": "ws://one/ws", "tls": "one:2", "wss": "wss://one/ws"},
                {"tcp": "", "ws": "ws://two/ws", "tls": "", "wss": "wss://two/ws"},
                {"tcp": "three:1"}, {}, 7,
            ],
            "heartbeat_s": 60, "backoff": {"first_ms": 5, "max_ms": -1},
        });
        let plain = located(&answer, false).unwrap();
        assert_eq!(plain.urls, ["tcp://one:1", "ws://two/ws", "tcp://three:1"]);
        assert_eq!((plain.heartbeat_ms, plain.first_ms, plain.max_ms), (60_000, 5, 0));
        assert_eq!(located(&answer, true).unwrap().urls, ["tls://one:2", "wss://two/ws"]);
        assert_eq!(located(&json!({"nodes": 1}), true), None);
    }
}
