//! Traces as a receiver of OpenTelemetry gets them: a send is one trace through all services, callers go on with theirs, and what is done for
//! several at once says so.
//!
//! A binary of its own, as a process has one receiver; and with the feature `otlp`.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[allow(dead_code, reason = "the system tests use the rest")]
#[path = "system/server.rs"]
mod server;

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::mpsc,
    time::Instant,
};

use gim_config::{listen::Endpoint, trace_export, traces::TracesSettings};
use gim_proto::{
    connect::{PacketCommand, SendRequest, send_request::Target},
    logic::{PushToUsersRequest, message_int_service_client::MessageIntServiceClient},
    metadata,
    trace::TraceContext,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use server::{DEADLINE, Server, receive_message};

const TOKEN: &str = "a-token-of-the-services";

/// Hands on what it gets.
struct Receiver(mpsc::Sender<Span>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap().attributes;
            assert_eq!(text(&attributes, "service.name"), "gim-test");
            assert_eq!(text(&attributes, "service.instance.id"), "test-1");
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                assert!(span.start_time_unix_nano > 0 && span.end_time_unix_nano >= span.start_time_unix_nano);
                self.0.send(span).unwrap();
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    let attribute = attributes.iter().find(|attribute| attribute.key == key);
    match attribute.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key} is {other:?}"),
    }
}

/// What came so far, by trace.
struct Spans {
    received: mpsc::Receiver<Span>,
    by_trace: HashMap<Vec<u8>, Vec<Span>>,
}

impl Spans {
    /// Has the server's services tell a receiver of every request.
    fn of(server: &Server) -> Self {
        let (sender, received) = mpsc::channel();
        server.runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = Endpoint::new(&format!("http://{}", listener.local_addr().unwrap()));
            let receiver = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Receiver(sender)));
            tokio::spawn(receiver.serve_with_incoming(TcpListenerStream::new(listener)));
            let settings = TracesSettings { endpoint, sampled_share: 1.0, ..TracesSettings::default() };
            trace_export::start(&settings, "test", "test-1").unwrap();
        });
        Self { received, by_trace: HashMap::new() }
    }

    /// Waits until `find` finds what it looks for in some trace.
    fn wait_for<T>(&mut self, what: &str, find: impl Fn(&[Span]) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = self.by_trace.values().find_map(|spans| find(spans)) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let span = self.received.recv_timeout(left).unwrap_or_else(|_| panic!("{what}: {:#?}", self.names()));
            self.by_trace.entry(span.trace_id.clone()).or_default().push(span);
        }
    }

    fn names(&self) -> Vec<Vec<&str>> {
        self.by_trace.values().map(|spans| spans.iter().map(|span| span.name.as_str()).collect()).collect()
    }
}

/// The spans of a chain, each the parent of the next; the first one's parent is `first`.
fn chain<'a>(spans: &'a [Span], first: &[u8], names: &[&str]) -> Option<Vec<&'a Span>> {
    let mut parent = first.to_vec();
    let mut found = Vec::new();
    for name in names {
        let span = spans.iter().find(|span| span.name == *name && span.parent_span_id == parent)?;
        parent.clone_from(&span.span_id);
        found.push(span);
    }
    Some(found)
}

fn caller(number: u128, is_sampled: bool) -> TraceContext {
    TraceContext { trace_id: number, span_id: 7, is_sampled }
}

fn push(user_id: u64) -> PushToUsersRequest {
    PushToUsersRequest {
        user_ids: vec![user_id],
        command: 2001,
        content: "hello".into(),
        is_persist: true,
        ..PushToUsersRequest::default()
    }
}

fn in_trace<T>(message: T, context: TraceContext) -> Request<T> {
    let mut request = Request::new(message);
    metadata::put(&mut request, metadata::INTERNAL_TOKEN, TOKEN);
    metadata::put(&mut request, metadata::TRACE_PARENT, &context.to_string());
    request
}

#[test]
fn a_request_is_one_trace_from_its_sender_to_its_receivers() {
    let server = Server::start_guarded(TOKEN, 1_000);
    let mut spans = Spans::of(&server);
    let (alice, bob) = (server.business_sign_in("13900000001"), server.business_sign_in("13900000002"));
    let (mut from, mut to) = (server.connect_as(&alice), server.connect_as(&bob));

    let send = SendRequest {
        target: Some(Target::UserId(bob.user_id)),
        content: "hello".into(),
        client_msg_id: "1".into(),
        ..SendRequest::default()
    };
    let reply = from.request(PacketCommand::PcSend as i32, send.encode_to_vec()).unwrap();
    assert_eq!(reply.code, 0, "{}", reply.message);
    receive_message(&mut to);
    spans.wait_for("a send", |spans| {
        let way = chain(spans, &[], &["PC_SEND", "packet", "fan-out", "push"])?;
        let packet = &way[1].span_id;
        let asked = spans.iter().find(|span| span.name == "call" && span.parent_span_id == *packet)?;
        assert!(text(&asked.attributes, "rpc.method").starts_with("business.UserIntService/"));
        chain(spans, packet, &["transaction"]).map(drop)
    });

    a_caller_goes_on_with_its_trace(&server, &mut spans, bob.user_id);
    what_is_done_for_several_says_so(&server, &mut spans, &[alice.user_id, bob.user_id]);
}

fn a_caller_goes_on_with_its_trace(server: &Server, spans: &mut Spans, user_id: u64) {
    let mut logic = MessageIntServiceClient::new(server.logic());
    let (untraced, by_grpc, by_json) = (caller(1, false), caller(2, true), caller(3, true));
    for context in [untraced, by_grpc] {
        server.call(logic.push_to_users(in_trace(push(user_id), context))).unwrap();
    }
    post_push(server, user_id, by_json);
    for context in [by_grpc, by_json] {
        let (trace_id, span_id) = (context.trace_id.to_be_bytes(), context.span_id.to_be_bytes());
        spans.wait_for("a call", |spans| {
            let way = chain(spans, &span_id, &["call", "fan-out", "push"]).filter(|way| way[0].trace_id == trace_id)?;
            assert_eq!(text(&way[0].attributes, "rpc.response.status_code"), "0");
            chain(spans, &way[0].span_id, &["transaction"]).map(drop)
        });
    }
    let trace_id = untraced.trace_id.to_be_bytes();
    assert!(!spans.by_trace.contains_key(&trace_id[..]), "a service that keeps no trace gets none");
}

/// The same push as a backend makes it that speaks JSON.
fn post_push(server: &Server, user_id: u64, context: TraceContext) {
    let [_, (_, logic, _), _] = server.services();
    let body = format!(r#"{{"userIds":["{user_id}"],"command":2001,"content":"aGVsbG8=","isPersist":true}}"#);
    let mut stream = TcpStream::connect(logic).unwrap();
    write!(
        stream,
        "POST /logic.MessageIntService/PushToUsers HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         internal_token: {TOKEN}\r\ntraceparent: {context}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn what_is_done_for_several_says_so(server: &Server, spans: &mut Spans, user_ids: &[u64]) {
    server.runtime.block_on(async {
        let logic = MessageIntServiceClient::new(server.logic());
        let mut calls = JoinSet::new();
        for number in 100..200 {
            let mut logic = logic.clone();
            let user_id = user_ids[number as usize % user_ids.len()];
            calls.spawn(async move { logic.push_to_users(in_trace(push(user_id), caller(number, true))).await });
        }
        calls.join_all().await.into_iter().for_each(|answer| drop(answer.unwrap()));
    });
    spans.wait_for("a transaction of several", |spans| {
        let shared = spans.iter().find(|span| span.name == "transaction" && !span.links.is_empty())?;
        let linked = &shared.links[0];
        assert_ne!(linked.trace_id, shared.trace_id);
        assert!((100..200).contains(&u128::from_be_bytes(linked.trace_id[..].try_into().unwrap())));
        Some(())
    });
}
