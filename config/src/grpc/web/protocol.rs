//! Which protocol a request speaks, and a refusal in each of them. Pure.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use tonic::{Code, Status, body::Body};

use super::connect;
use crate::grpc::{retry_after, unary::whole};

/// How a call is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::grpc) enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web; in base64 where it is text.
    GrpcWeb {
        /// See there.
        is_text: bool,
    },
    /// Connect, one message each way.
    Connect(Codec),
    /// None of these: a page, or a mistake.
    Plain,
}

/// How Connect writes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::grpc) enum Codec {
    Proto,
    Json,
}

/// What was refused: its status travels with the answer, for those who count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::grpc) struct RefusedWith(pub(in crate::grpc) Code);

impl Protocol {
    /// What this request speaks.
    pub(in crate::grpc) fn of(method: &Method, headers: &HeaderMap) -> Self {
        if method != Method::POST {
            return Self::Plain;
        }
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        match media_type(content_type).as_str() {
            "application/grpc" | "application/grpc+proto" => Self::Grpc,
            "application/grpc-web" | "application/grpc-web+proto" => Self::GrpcWeb { is_text: false },
            "application/grpc-web-text" | "application/grpc-web-text+proto" => Self::GrpcWeb { is_text: true },
            "application/json" if is_json_text(content_type) => Self::Connect(Codec::Json),
            "application/proto" => Self::Connect(Codec::Proto),
            _ => Self::Plain,
        }
    }

    /// The content type of what is answered.
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Grpc => "application/grpc",
            Self::GrpcWeb { is_text: false } => "application/grpc-web+proto",
            Self::GrpcWeb { is_text: true } => "application/grpc-web-text+proto",
            Self::Connect(Codec::Proto) => "application/proto",
            Self::Connect(Codec::Json) => "application/json",
            Self::Plain => "text/plain; charset=utf-8",
        })
    }

    /// `status` as this protocol says it.
    pub(in crate::grpc) fn refuse(self, status: Status, request_id: &str) -> Response<Body> {
        let mut answer = match self {
            Self::Grpc => status.clone().into_http(),
            Self::GrpcWeb { .. } => {
                let mut answer = status.clone().into_http::<Body>();
                answer.headers_mut().insert(header::CONTENT_TYPE, self.content_type());
                answer
            }
            Self::Connect(_) => {
                let mut answer = Response::new(whole(Bytes::from(connect::error_json(&status, request_id))));
                *answer.status_mut() = connect::http_status(status.code());
                *answer.headers_mut() = status.metadata().clone().into_headers();
                answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                answer
            }
            // A sentence for people: no client reads the error of a protocol that was not spoken.
            Self::Plain => {
                let mut answer = Response::new(whole(Bytes::from(format!("{}\n", status.message()))));
                *answer.status_mut() = connect::http_status(status.code());
                answer.headers_mut().insert(header::CONTENT_TYPE, self.content_type());
                answer
            }
        };
        retry_after::put(answer.headers_mut(), &status);
        answer.extensions_mut().insert(RefusedWith(status.code()));
        answer
    }
}

/// Without its parameters, in small letters.
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

/// JSON is UTF-8, and so it says where it says anything.
fn is_json_text(content_type: &str) -> bool {
    let charset = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    });
    charset.is_none_or(|charset| charset == "utf-8" || charset == "utf8")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gim_proto::ResultCode;

    use super::*;

    fn of(method: Method, content_type: &'static str) -> Protocol {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Protocol::of(&method, &headers)
    }

    #[test]
    fn the_content_type_of_a_post_says_what_is_spoken() {
        for (content_type, protocol) in [
            ("application/grpc", Protocol::Grpc),
            ("application/grpc+proto", Protocol::Grpc),
            ("application/grpc-web", Protocol::GrpcWeb { is_text: false }),
            ("application/grpc-web-text+proto", Protocol::GrpcWeb { is_text: true }),
            ("application/proto", Protocol::Connect(Codec::Proto)),
            ("application/json", Protocol::Connect(Codec::Json)),
            ("Application/JSON; charset=UTF-8", Protocol::Connect(Codec::Json)),
            ("application/json; charset=utf-16", Protocol::Plain),
            ("text/plain", Protocol::Plain),
            ("application/connect+json", Protocol::Plain),
            ("application/x-www-form-urlencoded", Protocol::Plain),
            ("", Protocol::Plain),
        ] {
            assert_eq!(of(Method::POST, content_type), protocol, "{content_type}");
        }
        assert_eq!(of(Method::GET, "application/json"), Protocol::Plain);
        assert_eq!(Protocol::of(&Method::POST, &HeaderMap::new()), Protocol::Plain);
    }

    #[test]
    fn a_refusal_for_a_while_says_when_to_come_again() {
        for protocol in [Protocol::Grpc, Protocol::GrpcWeb { is_text: true }, Protocol::Connect(Codec::Json)] {
            let refused = ResultCode::TooManyRequests.status_after("slower", Duration::from_secs(9));
            let answer = protocol.refuse(refused, "id");
            assert_eq!(answer.headers()[header::RETRY_AFTER], "9", "{protocol:?}");
            assert_eq!(answer.extensions().get(), Some(&RefusedWith(Code::ResourceExhausted)));
            assert!(!protocol.refuse(Status::not_found("no"), "id").headers().contains_key(header::RETRY_AFTER));
        }
    }
}
