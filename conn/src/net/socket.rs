//! Reads, writes and accepts on non-blocking sockets, with every outcome named.

use std::{
    io::{self, ErrorKind, IoSlice, Read as _, Write as _},
    net::{Shutdown, SocketAddr},
    time::Duration,
};

use mio::net::{TcpListener, TcpStream};
use socket2::{SockRef, TcpKeepalive};

/// Time between two probes of a silent peer. The second one finds the user timeout over and ends the connection.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// What a read or a write did.
#[derive(Debug)]
pub enum IoOutcome {
    /// So many bytes, at least one.
    Done(usize),
    /// Nothing now; epoll will tell.
    Blocked,
    /// The peer will send nothing more.
    Eof,
    /// The peer or the network ended the connection: common, not worth a log line.
    Reset,
    /// Anything else.
    Failed(io::Error),
}

/// What an accept did.
#[derive(Debug)]
pub enum AcceptOutcome {
    /// A new connection.
    Accepted(TcpStream, SocketAddr),
    /// Nobody waits; epoll will tell.
    Drained,
    /// This peer is gone, the next may be fine.
    Retry,
    /// The process or the system is out of something: try again after a pause, without waiting for an edge.
    Pause(io::Error),
}

/// What the kernel watches on a connection besides us.
#[derive(Debug, Clone, Copy)]
pub struct SocketOptions {
    /// Silence before the first probe; 0 for none.
    pub keepalive_s: u32,
    /// How long written bytes may stay without an answer; 0 for the system's default.
    pub user_timeout_ms: u32,
    /// What it may hold of written bytes, and of bytes that are not read yet; 0 for the system's default.
    pub send_buffer_bytes: usize,
    /// See there.
    pub receive_buffer_bytes: usize,
}

/// Reads once.
pub fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> IoOutcome {
    loop {
        return match stream.read(buffer) {
            Ok(0) => IoOutcome::Eof,
            Ok(count) => IoOutcome::Done(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => outcome_of(error),
        };
    }
}

/// Writes once.
pub fn write(stream: &mut TcpStream, bytes: &[u8]) -> IoOutcome {
    write_with(|| stream.write(bytes))
}

/// Writes several slices with one call.
pub fn write_vectored(stream: &mut TcpStream, slices: &[IoSlice<'_>]) -> IoOutcome {
    write_with(|| stream.write_vectored(slices))
}

fn write_with(mut call: impl FnMut() -> io::Result<usize>) -> IoOutcome {
    loop {
        return match call() {
            Ok(0) => IoOutcome::Reset,
            Ok(count) => IoOutcome::Done(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => outcome_of(error),
        };
    }
}

/// Tells the peer that nothing more will come, while still reading what it sends. A failure means that it is gone already.
pub fn finish_writing(stream: &TcpStream) -> bool {
    stream.shutdown(Shutdown::Write).is_ok()
}

/// Has the kernel let go of all that it holds for the peer as soon as the socket is closed, which then is a reset.
pub fn forget_unsent(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "what a peer did not take is kept for a while");
    }
}

/// Accepts once.
pub fn accept(listener: &TcpListener) -> AcceptOutcome {
    match listener.accept() {
        Ok((stream, peer)) => AcceptOutcome::Accepted(stream, peer),
        Err(error) => accept_failed(error),
    }
}

/// Sets what every connection has. A socket whose peer is already gone may refuse; reading from it will tell the same.
pub fn set_options(stream: &TcpStream, options: SocketOptions) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    if options.keepalive_s > 0 {
        let silence = Duration::from_secs(options.keepalive_s.into());
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence).with_interval(PROBE_INTERVAL))?;
    }
    if options.user_timeout_ms > 0 {
        socket.set_tcp_user_timeout(Some(Duration::from_millis(options.user_timeout_ms.into())))?;
    }
    if options.send_buffer_bytes > 0 {
        socket.set_send_buffer_size(options.send_buffer_bytes)?;
    }
    if options.receive_buffer_bytes > 0 {
        socket.set_recv_buffer_size(options.receive_buffer_bytes)?;
    }
    Ok(())
}

fn accept_failed(error: io::Error) -> AcceptOutcome {
    match error.kind() {
        ErrorKind::WouldBlock => AcceptOutcome::Drained,
        // accept(2) hands over network errors of the new socket; they say nothing about the listener.
        ErrorKind::Interrupted
        | ErrorKind::ConnectionAborted
        | ErrorKind::ConnectionReset
        | ErrorKind::PermissionDenied
        | ErrorKind::NetworkDown
        | ErrorKind::NetworkUnreachable
        | ErrorKind::HostUnreachable
        | ErrorKind::TimedOut => AcceptOutcome::Retry,
        _ => AcceptOutcome::Pause(error),
    }
}

fn outcome_of(error: io::Error) -> IoOutcome {
    match error.kind() {
        ErrorKind::WouldBlock => IoOutcome::Blocked,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted | ErrorKind::NotConnected => {
            IoOutcome::Reset
        }
        _ => IoOutcome::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net;

    use nix::errno::Errno;

    use super::*;

    #[test]
    fn the_kernel_watches_every_connection_as_the_settings_say() {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::from_std(net::TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let (send_buffer_bytes, receive_buffer_bytes) = (32 << 10, 16 << 10);
        let options =
            SocketOptions { keepalive_s: 77, user_timeout_ms: 12_345, send_buffer_bytes, receive_buffer_bytes };
        set_options(&stream, options).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), PROBE_INTERVAL);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_millis(12_345)));
        // The kernel adds as much for its own records.
        assert_eq!(socket.send_buffer_size().unwrap(), 2 * send_buffer_bytes);
        assert_eq!(socket.recv_buffer_size().unwrap(), 2 * receive_buffer_bytes);
    }

    #[test]
    fn an_accept_that_fails_is_tried_again_at_once_or_after_a_pause() {
        let outcome = |errno: Errno| accept_failed(errno.into());
        for errno in [Errno::ECONNABORTED, Errno::EINTR, Errno::EPERM, Errno::ENETDOWN, Errno::EHOSTUNREACH] {
            assert!(matches!(outcome(errno), AcceptOutcome::Retry), "{errno}");
        }
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM] {
            assert!(matches!(outcome(errno), AcceptOutcome::Pause(_)), "{errno}");
        }
        assert!(matches!(outcome(Errno::EAGAIN), AcceptOutcome::Drained));
    }

    #[test]
    fn an_ordinary_end_is_no_failure_and_an_unusual_one_is() {
        for errno in [Errno::ECONNRESET, Errno::EPIPE, Errno::ECONNABORTED, Errno::ENOTCONN] {
            assert!(matches!(outcome_of(errno.into()), IoOutcome::Reset), "{errno}");
        }
        for errno in [Errno::ETIMEDOUT, Errno::EHOSTUNREACH, Errno::EIO] {
            assert!(matches!(outcome_of(errno.into()), IoOutcome::Failed(_)), "{errno}");
        }
    }
}
