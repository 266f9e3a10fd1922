//! The server of the Connect project's conformance suite: its test service by gRPC, behind the doors that gim's services are behind.
//!
//! `scripts/lib/conformance` runs it. The suite asks on standard input where to call, and the answer says a port. The argument is the
//! file with the compiled `.proto` files of the suite.

use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use gim_config::{
    grpc::{self, GrpcSettings},
    listen::Endpoint,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body as HttpBody, Frame};
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status, body::Body, service::RoutesBuilder};
use tonic_types::pb;

#[derive(Clone, PartialEq, Message)]
struct ServerCompatResponse {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(uint32, tag = "2")]
    port: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "2")]
    value: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Error {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, optional, tag = "2")]
    message: Option<String>,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Definition {
    #[prost(message, repeated, tag = "1")]
    headers: Vec<Header>,
    #[prost(bytes = "bytes", tag = "2")]
    data: Bytes,
    #[prost(message, optional, tag = "3")]
    error: Option<Error>,
    #[prost(message, repeated, tag = "4")]
    trailers: Vec<Header>,
    #[prost(uint32, tag = "6")]
    delay_ms: u32,
}

#[derive(Clone, PartialEq, Message)]
struct UnaryRequest {
    #[prost(message, optional, tag = "1")]
    definition: Option<Definition>,
    #[prost(bytes = "bytes", tag = "2")]
    data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct RequestInfo {
    #[prost(message, repeated, tag = "1")]
    headers: Vec<Header>,
    #[prost(int64, optional, tag = "2")]
    timeout_ms: Option<i64>,
    #[prost(message, repeated, tag = "3")]
    requests: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
    #[prost(message, optional, tag = "2")]
    request_info: Option<RequestInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct UnaryResponse {
    #[prost(message, optional, tag = "1")]
    payload: Option<Payload>,
}

const PACKAGE: &str = "type.googleapis.com/connectrpc.conformance.v1";
const UNARY: &str = "/connectrpc.conformance.v1.ConformanceService/Unary";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = std::fs::read(std::env::args().nth(1).ok_or("usage: conformance DESCRIPTORS")?)?;
    let mut length = [0; 4];
    std::io::stdin().read_exact(&mut length)?;
    // What it asks for is what there is: every protocol on one port, without TLS.
    std::io::stdin().read_exact(&mut vec![0; u32::from_be_bytes(length) as usize])?;
    let settings = GrpcSettings { listen: Endpoint::new("127.0.0.1:0"), ..GrpcSettings::default() };
    let routes = axum::Router::new().fallback(async |request: Request<axum::body::Body>| {
        answer(request.map(Body::new)).await.unwrap_or_else(Status::into_http).map(axum::body::Body::new)
    });
    let server = grpc::serve_described(&settings, RoutesBuilder::from(routes), &descriptors).await?;
    let response = ServerCompatResponse { host: "127.0.0.1".into(), port: server.address().port().into() };
    let response = response.encode_to_vec();
    let mut output = std::io::stdout();
    output.write_all(&u32::try_from(response.len())?.to_be_bytes())?;
    output.write_all(&response)?;
    output.flush()?;
    // Until it is ended.
    std::future::pending().await
}

async fn answer(request: Request<Body>) -> Result<Response<Body>, Status> {
    if request.uri().path() != UNARY {
        return Err(Status::unimplemented("there is no such method"));
    }
    let (parts, mut body) = request.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        bytes.put(frame?.into_data().unwrap_or_default());
    }
    // A call has one message, which is not compressed.
    let length = bytes.get(1..5).and_then(|length| length.try_into().ok()).map(u32::from_be_bytes);
    if length.is_none_or(|length| bytes.len() != 5 + length as usize) {
        return Err(Status::unimplemented("exactly one message is needed"));
    }
    if parts.headers.get("grpc-encoding").is_some_and(|encoding| encoding != "identity") {
        return Err(Status::unimplemented("compressed messages are not taken"));
    }
    if bytes[0] != 0 {
        return Err(Status::internal("the message is compressed, and its encoding is not said"));
    }
    let message = bytes.split_off(5).freeze();
    let wrong = |error: prost::DecodeError| Status::invalid_argument(error.to_string());
    let request = UnaryRequest::decode(message.clone()).map_err(wrong)?;
    let definition = request.definition.unwrap_or_default();
    let info = RequestInfo {
        headers: headers_of(&parts.headers),
        timeout_ms: timeout_of(&parts.headers),
        requests: vec![Any { type_url: format!("{PACKAGE}.UnaryRequest"), value: message.to_vec() }],
    };
    tokio::time::sleep(Duration::from_millis(definition.delay_ms.into())).await;
    let mut trailers = header_map(&definition.trailers);
    let data = match definition.error {
        None => {
            trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
            let payload = Payload { data: definition.data, request_info: Some(info) };
            let message = UnaryResponse { payload: Some(payload) }.encode_to_vec();
            let mut frame = BytesMut::new();
            frame.put_u8(0);
            frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
            frame.put(message.as_slice());
            Some(frame.freeze())
        }
        Some(error) => {
            status_of(error, &info).add_header(&mut trailers)?;
            None
        }
    };
    let mut response = Response::new(Body::new(Whole(data, Some(trailers))));
    *response.headers_mut() = header_map(&definition.headers);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

fn status_of(error: Error, info: &RequestInfo) -> Status {
    let mut details = error.details;
    let info = Any { type_url: format!("{PACKAGE}.ConformancePayload.RequestInfo"), value: info.encode_to_vec() };
    details.push(info);
    let message = error.message.unwrap_or_default();
    let status = pb::Status { code: error.code, message: message.clone(), details };
    Status::with_details(Code::from(error.code), message, status.encode_to_vec().into())
}

fn headers_of(headers: &HeaderMap) -> Vec<Header> {
    let values = |name: &HeaderName| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    headers
        .keys()
        .map(|name| Header { name: name.to_string(), value: values(name).map(str::to_owned).collect() })
        .collect()
}

fn timeout_of(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: i64 = number.parse().ok()?;
    match unit {
        "H" => Some(number * 3_600_000),
        "M" => Some(number * 60_000),
        "S" => Some(number * 1_000),
        "m" => Some(number),
        "u" => Some(number / 1_000),
        "n" => Some(number / 1_000_000),
        _ => None,
    }
}

fn header_map(headers: &[Header]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for Header { name, value } in headers {
        for value in value {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                map.append(name, value);
            }
        }
    }
    map
}

/// A frame and the trailers after it.
struct Whole(Option<Bytes>, Option<HeaderMap>);

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.0.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.1.take().map(Frame::trailers)).map(Ok))
    }
}
