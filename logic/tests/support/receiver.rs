//! A receiver of events, as a backend would have one: it checks signatures, fails when it is told to, and can be away.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use gim_config::webhook::Secret;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{OwnedRwLockWriteGuard, RwLock},
    task::JoinHandle,
};

use super::soon;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Its state outlives the task that listens.
#[derive(Debug, Clone)]
pub struct EventReceiver {
    state: Arc<Received>,
    pub address: SocketAddr,
}

#[derive(Debug)]
struct Received {
    events: Mutex<Vec<Value>>,
    calls: AtomicUsize,
    /// Of calls; one that is made again has the same.
    ids: Mutex<BTreeSet<String>>,
    /// Every so manieth call fails, after its events were noted; 0 for none.
    fails_each: AtomicUsize,
    /// Calls are answered when nobody has it.
    held: Arc<RwLock<()>>,
}

impl EventReceiver {
    /// On a free port; it takes calls as long as the task runs.
    pub async fn start(fails_each: usize) -> (Self, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fails_each = AtomicUsize::new(fails_each);
        let state = Arc::new(Received {
            events: Mutex::default(),
            calls: AtomicUsize::new(0),
            ids: Mutex::default(),
            fails_each,
            held: Arc::default(),
        });
        let receiver = Self { state, address };
        let task = receiver.serve(listener);
        (receiver, task)
    }

    /// Listens again, where it was killed.
    pub async fn again(&self) -> JoinHandle<()> {
        let listener = until(async || TcpListener::bind(self.address).await.ok()).await;
        self.serve(listener)
    }

    pub fn fail_each(&self, count: usize) {
        self.state.fails_each.store(count, Ordering::Relaxed);
    }

    /// No call is answered as long as this is there.
    pub async fn hold(&self) -> OwnedRwLockWriteGuard<()> {
        self.state.held.clone().write_owned().await
    }

    fn serve(&self, listener: TcpListener) -> JoinHandle<()> {
        let routes = Router::new().route("/hook", post(take)).with_state(self.state.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() })
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// All that came, again and again as it came.
    pub fn events(&self) -> Vec<Value> {
        self.state.events.lock().unwrap().clone()
    }

    pub fn calls(&self) -> usize {
        self.state.calls.load(Ordering::Relaxed)
    }

    /// How many calls were made, each counted once.
    pub fn different_calls(&self) -> usize {
        self.state.ids.lock().unwrap().len()
    }

    /// What came, each once, when a condition holds.
    pub async fn once(&self, is_enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        until(async || {
            let mut seen = std::collections::HashSet::new();
            let mut events = self.events();
            events.retain(|event| seen.insert(event["id"].as_str().unwrap().to_owned()));
            is_enough(&events).then_some(events)
        })
        .await
    }
}

/// Waits until there is something.
pub async fn until<T>(look: impl AsyncFn() -> Option<T>) -> T {
    soon(async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

async fn take(State(received): State<Arc<Received>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let signature = Secret::new(SECRET).unwrap().signature(
        &header("webhook-id"),
        header("webhook-timestamp").parse().unwrap(),
        &body,
    );
    if signature != header("webhook-signature") {
        return StatusCode::UNAUTHORIZED;
    }
    received.ids.lock().unwrap().insert(header("webhook-id"));
    let call: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(call["type"], "events");
    let fails_each = received.fails_each.load(Ordering::Relaxed);
    let number = received.calls.fetch_add(1, Ordering::Relaxed) + 1;
    drop(received.held.read().await);
    let fails = fails_each > 0 && number.is_multiple_of(fails_each);
    // Half of those that fail were taken all the same.
    if !fails || number.is_multiple_of(2) {
        received.events.lock().unwrap().extend(call["data"]["events"].as_array().unwrap().iter().cloned());
    }
    if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::NO_CONTENT }
}
