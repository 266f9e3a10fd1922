//! What the sockets of this machine give without a messaging server: bare servers in child processes of this one, driven by
//! the same swarm in the same run. A child ends when its standard input does, so none outlives its run.

pub mod database;
mod echo;
mod files;
mod writes;

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};

pub use self::writes::put;
use crate::swarm::transport::ServerEndpoint;

/// A bare server; not for people.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

/// Which bare server.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Kind {
    /// Writes back what it reads
    Echo {
        /// So many threads
        threads: usize,
    },
    /// Writes what it is given on standard input to every socket
    Writes {
        /// So many sockets
        sockets: usize,
    },
    /// Keeps files in a folder, and gives them back
    Files {
        /// The folder
        folder: PathBuf,
    },
}

/// Is the child: serves until standard input ends.
pub fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    crate::host::take_files(0)?;
    let first = listen(0).context("a baseline cannot listen")?;
    let address = first.local_addr()?;
    match arguments.kind.clone() {
        Kind::Echo { threads } => {
            let others = (1..threads).map(|_| listen(address.port()));
            let listeners = std::iter::once(Ok(first)).chain(others).collect::<io::Result<_>>();
            let listeners = listeners.context("a baseline cannot listen")?;
            writeln!(io::stdout(), "{address}")?;
            echo::serve(listeners)
        }
        Kind::Writes { sockets } => {
            writeln!(io::stdout(), "{address}")?;
            writes::serve(&first, sockets)
        }
        Kind::Files { folder } => {
            writeln!(io::stdout(), "{address}")?;
            files::serve(first, folder)
        }
    }
}

/// A listener that shares its port; 0 for any.
fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(i16::MAX.into())?;
    Ok(socket.into())
}

/// A running bare server.
#[derive(Debug)]
pub struct Baseline {
    child: Child,
    address: SocketAddr,
}

impl Baseline {
    /// Starts one.
    pub fn start(kind: Kind) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("cannot find gim-bench itself")?);
        command.arg("baseline").stdin(Stdio::piped()).stdout(Stdio::piped());
        match kind {
            Kind::Echo { threads } => command.arg("echo").arg(threads.to_string()),
            Kind::Writes { sockets } => command.arg("writes").arg(sockets.to_string()),
            Kind::Files { folder } => command.arg("files").arg(folder),
        };
        let mut child = command.spawn().context("cannot start a baseline")?;
        let mut line = String::new();
        let output = child.stdout.take().context("a baseline has no output")?;
        BufReader::new(output).read_line(&mut line).context("a baseline does not start")?;
        let address = line.trim().parse().context("a baseline does not start")?;
        Ok(Self { child, address })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> ServerEndpoint {
        ServerEndpoint::tcp(self.address)
    }

    /// The same, for clients that are no swarm.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, for clients that have the same work with it as at the door of a server.
    pub fn endpoint_like(&self, endpoint: &ServerEndpoint) -> ServerEndpoint {
        endpoint.bare(self.address)
    }

    /// Its standard input.
    pub fn take_input(&mut self) -> anyhow::Result<ChildStdin> {
        self.child.stdin.take().context("the input of a baseline is taken")
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        // It is gone already where either fails.
        let _is_gone = self.child.kill().and_then(|()| self.child.wait()).is_err();
    }
}
