//! Connect's calls with one message: errors in JSON, statuses of HTTP, timeouts. Pure.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use gim_proto::{ResultCode, code::ERROR_DOMAIN};
use http::{HeaderMap, HeaderValue, StatusCode};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _, pb};

/// How long the caller waits, in milliseconds.
pub(super) const TIMEOUT: &str = "connect-timeout-ms";
/// The version of the protocol, which is 1 where it is said.
pub(super) const VERSION: &str = "connect-protocol-version";
/// What a trailer is called among the headers of an answer.
pub(super) const TRAILER_PREFIX: &str = "trailer-";

/// How long to wait.
const RETRY_INFO: &str = "google.rpc.RetryInfo";
/// Where gim's result codes are.
const ERROR_INFO: &str = "google.rpc.ErrorInfo";
const TIMEOUT_DIGITS_MAX: usize = 10;

/// How long the caller waits, where it says so.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| (1..=TIMEOUT_DIGITS_MAX).contains(&text.len()));
    let millis =
        digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).and_then(|text| text.parse().ok());
    let millis = millis.ok_or_else(|| ResultCode::BadRequest.status(format!("{TIMEOUT}: must have 1 to 10 digits")))?;
    Ok(Some(Duration::from_millis(millis)))
}

/// The refusal of a call whose answer did not come within that.
pub(super) fn late() -> Status {
    let code = ResultCode::TryAgainLater.number().to_string();
    let details = ErrorDetails::with_error_info(code, ERROR_DOMAIN, []);
    Status::with_error_details(Code::DeadlineExceeded, format!("the answer did not come within {TIMEOUT}"), details)
}

/// The same for gRPC, whose numbers have eight digits.
pub(super) fn put_grpc_timeout(headers: &mut HeaderMap, wait: Duration) {
    const DIGITS_MAX: u128 = 99_999_999;
    let millis = wait.as_millis();
    let text = if millis <= DIGITS_MAX { format!("{millis}m") } else { format!("{}S", wait.as_secs()) };
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert("grpc-timeout", value);
    }
}

/// The status of HTTP that goes with a code.
pub(super) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Connect's name of a code.
fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok | Code::Unknown => "unknown",
        Code::Cancelled => "canceled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// An error as Connect writes it, with the result code and the request id for people in `debug`.
pub(super) fn error_json(status: &Status, request_id: &str) -> String {
    let details_of_status = details_of(status);
    // What is none of gim's errors stays as it is.
    let is_ours = details_of_status.iter().any(|any| name_of_type(any) == ERROR_INFO);
    let mut details: Vec<Value> = details_of_status.iter().map(detail).collect();
    if !request_id.is_empty() && is_ours {
        let info = pb::RequestInfo { request_id: request_id.to_owned(), serving_data: String::new() };
        details.push(json!({
            "type": "google.rpc.RequestInfo",
            "value": STANDARD_NO_PAD.encode(info.encode_to_vec()),
            "debug": { "requestId": request_id },
        }));
    }
    let mut error = json!({ "code": name_of(status.code()) });
    if !status.message().is_empty() {
        error["message"] = status.message().into();
    }
    if !details.is_empty() {
        error["details"] = details.into();
    }
    error.to_string()
}

/// What stands in a status beside its code and its sentence.
fn details_of(status: &Status) -> Vec<prost_types::Any> {
    pb::Status::decode(status.details()).map(|status| status.details).unwrap_or_default()
}

fn name_of_type(any: &prost_types::Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or("")
}

fn detail(any: &prost_types::Any) -> Value {
    let name = name_of_type(any);
    let mut detail = json!({ "type": name, "value": STANDARD_NO_PAD.encode(&any.value) });
    if name == ERROR_INFO
        && let Ok(info) = pb::ErrorInfo::decode(any.value.as_slice())
    {
        detail["debug"] = json!({ "reason": info.reason, "domain": info.domain, "metadata": info.metadata });
    }
    if name == RETRY_INFO
        && let Ok(info) = pb::RetryInfo::decode(any.value.as_slice())
        && let Some(wait) = info.retry_delay.and_then(|delay| Duration::try_from(delay).ok())
    {
        detail["debug"] = json!({ "retryDelay": format!("{}s", wait.as_secs_f64()) });
    }
    detail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_code_sentence_result_code_and_request_id() {
        let error: Value = serde_json::from_str(&error_json(&ResultCode::NotFriends.into(), "r-7")).unwrap();
        assert_eq!(
            (error["code"].as_str(), error["message"].as_str()),
            (Some("failed_precondition"), Some("not friends"))
        );
        assert_eq!(error["details"][0]["type"], "google.rpc.ErrorInfo");
        assert_eq!(error["details"][0]["debug"]["reason"], "10210");
        assert_eq!(error["details"][1]["debug"]["requestId"], "r-7");
        let value = STANDARD_NO_PAD.decode(error["details"][1]["value"].as_str().unwrap()).unwrap();
        assert_eq!(pb::RequestInfo::decode(value.as_slice()).unwrap().request_id, "r-7");
        let slower = ResultCode::TooManyRequests.status_after("slower", Duration::from_millis(2_500));
        let error: Value = serde_json::from_str(&error_json(&slower, "")).unwrap();
        let waits: Vec<_> = (0..2).filter_map(|at| error["details"][at]["debug"]["retryDelay"].as_str()).collect();
        assert_eq!(waits, ["2.5s"]);
        assert_eq!(error_json(&Status::unknown(""), ""), r#"{"code":"unknown"}"#);
    }

    #[test]
    fn a_timeout_has_one_to_ten_digits() {
        let timeout = |text: &'static str| {
            timeout(&HeaderMap::from_iter([(TIMEOUT.parse().unwrap(), http::HeaderValue::from_static(text))]))
        };
        assert_eq!(timeout("9999999999").unwrap(), Some(Duration::from_millis(9_999_999_999)));
        assert_eq!(timeout("0").unwrap(), Some(Duration::ZERO));
        for wrong in ["", "-1", "+1", "1s", "12345678901", "0x1"] {
            assert!(timeout(wrong).is_err(), "{wrong}");
        }
        assert_eq!(super::timeout(&HeaderMap::new()).unwrap(), None);
    }
}
