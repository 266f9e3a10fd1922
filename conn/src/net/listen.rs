//! Listening sockets: one per reactor on the same address, so that the kernel spreads the connects (SO_REUSEPORT).
//!
//! They are opened by the start-up code before any reactor runs and live as long as the process: closing one of several
//! resets the peers that the kernel had queued on it.

use std::{io, net::SocketAddr};

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

/// Opens `count` listeners on one address; with port 0 the first one chooses it.
pub fn open(address: SocketAddr, count: usize, backlog: i32) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(count);
    let mut address = address;
    refuse_if_taken(address)?;
    for _ in 0..count {
        let listener = open_one(address, backlog)?;
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// With SO_REUSEPORT two processes of one user share a port without a word; a listener without it finds the other one.
fn refuse_if_taken(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let probe = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    probe.set_reuse_address(true)?;
    probe.bind(&address.into())?;
    probe.listen(1)
}

fn open_one(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(TcpListener::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_else_shares_is_taken() {
        let listeners = open("127.0.0.1:0".parse().unwrap(), 2, 16).unwrap();
        let address = listeners[0].local_addr().unwrap();
        assert_eq!(listeners[1].local_addr().unwrap(), address);
        assert_eq!(open(address, 1, 16).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listeners);
        open(address, 2, 16).unwrap();
    }
}
