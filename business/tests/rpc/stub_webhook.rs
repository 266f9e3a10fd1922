//! A stand-in for whoever sends text messages: checks what it is told as Standard Webhooks says, and remembers the codes.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
    routing::post,
};
use gim_config::webhook::Secret;
use tokio::net::TcpListener;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answer {
    #[default]
    Takes,
    /// With this status.
    Refuses(u16),
    /// To itself, for ever.
    Redirects,
    /// Not at all.
    IsSilent,
    /// With a body that never ends.
    IsEndless,
}

#[derive(Debug, Clone, Default)]
pub struct StubWebhook(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    answer: Answer,
    sent: Vec<(String, String)>,
    calls: usize,
}

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

impl StubWebhook {
    /// Serves until the test ends.
    pub async fn start() -> (Self, SocketAddr) {
        let stub = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/codes", post(take)).with_state(stub.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        (stub, address)
    }

    pub fn answer(&self, answer: Answer) {
        self.0.lock().unwrap().answer = answer;
    }

    /// Phone numbers and their codes, in the order in which they came.
    pub fn sent(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().sent.clone()
    }

    pub fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }
}

async fn take(State(stub): State<StubWebhook>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = {
        let mut state = stub.0.lock().unwrap();
        state.calls += 1;
        state.answer
    };
    match answer {
        Answer::Takes => {}
        Answer::Refuses(status) => return StatusCode::from_u16(status).unwrap().into_response(),
        Answer::Redirects => return Redirect::temporary("/codes").into_response(),
        Answer::IsSilent => std::future::pending().await,
        Answer::IsEndless => {
            let endless =
                futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024])));
            return axum::body::Body::from_stream(endless).into_response();
        }
    }
    let header = |name: &str| headers.get(name).unwrap().to_str().unwrap();
    let (id, timestamp_s) = (header("webhook-id"), header("webhook-timestamp").parse().unwrap());
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("webhook-signature"), Secret::new(SECRET).unwrap().signature(id, timestamp_s, &body));
    let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&event["type"], &event["data"]["valid_s"]), (&"sign_in.code".into(), &300.into()));
    let text = |name: &str| event["data"][name].as_str().unwrap().to_owned();
    stub.0.lock().unwrap().sent.push((text("phone_number"), text("code")));
    StatusCode::NO_CONTENT.into_response()
}
