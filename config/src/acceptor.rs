//! Connections as they come to a listener for HTTP. Where none can be accepted (the process has no file left, say), it is tried again and
//! again, with a pause between, and told once until one is accepted.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::{TcpListener, TcpStream};

/// Between two tries. Nobody is asked to wait for longer: what fails is over as soon as a connection ends.
const PAUSE: Duration = Duration::from_millis(100);

/// See the module's documentation.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    name: &'static str,
    is_failing: bool,
}

impl Acceptor {
    /// Of a listener; `name` is for the log.
    pub fn new(listener: TcpListener, name: &'static str) -> Self {
        Self { listener, name, is_failing: false }
    }

    /// The next connection.
    pub async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => {
                    self.is_failing = false;
                    return accepted;
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        tracing::warn!(%error, name = self.name, "connections cannot be accepted; tried again and again");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// The connection left before it was accepted.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    [ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted].contains(&error.kind())
}
