//! A page of an admin listener, asked for without a runtime: for health checks and tools. Blocks its thread, for seconds at most.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// How long connecting may take, and each read and write.
const PATIENCE: Duration = Duration::from_secs(2);

/// More of a page is not read.
const PAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The page at `path`, such as `/readyz`: its status, and its text.
///
/// # Errors
/// What the system says where nobody answers; [`io::ErrorKind::InvalidData`] where no HTTP comes.
pub fn get(listener: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    ask(listener, &format!("GET {path} HTTP/1.0\r\n\r\n"))
}

/// The answer at `path` to whoever has something done there, and shows it by a header.
///
/// # Errors
/// As [`get`].
pub fn post(listener: SocketAddr, path: &str, header: &str) -> io::Result<(u16, String)> {
    ask(listener, &format!("POST {path} HTTP/1.0\r\n{header}: 1\r\ncontent-length: 0\r\n\r\n"))
}

fn ask(listener: SocketAddr, question: &str) -> io::Result<(u16, String)> {
    let address = reachable(listener);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(question.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(PAGE_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "what answers speaks no HTTP"))?;
    Ok((status, body.to_owned()))
}

/// A listener on all addresses is asked on loopback.
pub fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}
