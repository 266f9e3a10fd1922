//! A TCP proxy before a server, which a test cuts, hangs and mends.

use std::net::SocketAddr;

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// The proxy; it ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    way: watch::Sender<Way>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    Cut,
    Hung,
}

impl Proxy {
    /// Puts a proxy before the server that `url` names, and the proxy's address into `url`.
    ///
    /// # Panics
    /// Where that is no URL of a server on loopback.
    pub async fn before(url: &mut String) -> Self {
        let rest = url.split_once("://").expect("a URL").1;
        let host = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        let target = host.split(['/', '?']).next().expect("a host").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        *url = url.replacen(&target, &address.to_string(), 1);
        let (way, seen) = watch::channel(Way::Open);
        Self { way, task: tokio::spawn(accept(listener, target.parse().expect("an address with a port"), seen)) }
    }

    /// Breaks every connection, and every one that comes.
    pub fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Takes connections and what comes over them, and answers nothing: those that it meets never speak again.
    pub fn hang(&self) {
        self.way.send_replace(Way::Hung);
    }

    /// Serves the connections that come from now on.
    pub fn mend(&self) {
        self.way.send_replace(Way::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, way: watch::Receiver<Way>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        if *way.borrow() != Way::Cut {
            tokio::spawn(forward(client, target, way.clone()));
        }
    }
}

async fn forward(mut client: TcpStream, target: SocketAddr, mut way: watch::Receiver<Way>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let met = tokio::select! {
        biased;
        met = way.wait_for(|way| *way != Way::Open) => met.map(|way| *way),
        // However it ends, both sides are closed.
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
    };
    if matches!(met, Ok(Way::Hung)) {
        std::future::pending::<()>().await;
    }
}
