//! A small client of HTTP/1.1 for the tests of files: one request per connection.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use crate::rpc::harness::Phone;

/// A request that is being put together.
#[derive(Debug, Clone)]
pub struct Ask {
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    length: Option<u64>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn new(method: &'static str, target: &str) -> Self {
        // As clients do with a URL: what stands before the path is where to connect.
        let target = match target.strip_prefix("http://") {
            Some(rest) => &rest[rest.find('/').expect("a path")..],
            None => target,
        };
        Self { method, target: target.to_owned(), headers: Vec::new(), body: Vec::new(), length: None }
    }

    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn by(self, phone: &Phone) -> Self {
        self.header("user_id", phone.user_id).header("device_id", phone.device_id).header("token", &phone.token)
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.length.get_or_insert(self.body.len() as u64);
        self
    }

    /// Announces another length than that of the body.
    pub fn length(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    /// Sends it, without waiting for an answer.
    pub fn begin(&self, address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(length) = self.length {
            head += &format!("content-length: {length}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        // A server that refuses may close before it has read all.
        let _ = stream.write_all(&self.body);
        stream
    }

    pub fn send(&self, address: SocketAddr) -> Answer {
        answer(self.begin(address))
    }
}

/// All that comes, as it came.
pub fn all(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Reads an answer to its end.
pub fn answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_else(|| panic!("{read:?} {bytes:?}"));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Answer { status, headers, body: bytes.split_off(end + 4) }
}

impl Answer {
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    /// Asserts that it is a refusal with this status, and returns its sentence.
    #[track_caller]
    pub fn refusal(&self, status: u16) -> String {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        let json = self.json();
        assert!(json["code"].is_i64(), "{text}");
        json["message"].as_str().unwrap().to_owned()
    }
}
