//! The few words of HTTP that the WebSocket listeners speak besides the upgrade: small answers, each of which ends the
//! connection.

use std::fmt::Write as _;

use bytes::Bytes;
use tungstenite::http::StatusCode;

/// Header lines that an answer has besides the usual ones.
pub type Extra<'a> = &'a [(&'a str, &'a str)];

/// A whole answer. A request without a body (`HEAD`) gets the headers only.
pub fn answer(status: StatusCode, extra: Extra<'_>, body: &str, has_body: bool) -> Bytes {
    let mut text = format!("HTTP/1.1 {status}\r\n");
    let mut line = |name: &str, value: &str| write!(text, "{name}: {value}\r\n").expect("a string takes everything");
    line("Content-Type", "text/plain; charset=utf-8");
    line("Content-Length", &(body.len() + 1).to_string());
    line("Cache-Control", "no-store");
    line("Connection", "close");
    extra.iter().for_each(|(name, value)| line(name, value));
    text.push_str("\r\n");
    if has_body {
        text.push_str(body);
        text.push('\n');
    }
    text.into()
}

/// An answer that says what went wrong.
pub fn refusal(status: StatusCode, extra: Extra<'_>, body: &str) -> Bytes {
    answer(status, extra, body, true)
}
