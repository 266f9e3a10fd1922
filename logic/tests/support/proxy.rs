//! A TCP proxy before a server, which a test cuts and mends.

use std::net::SocketAddr;

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

pub struct Proxy {
    is_open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Puts a proxy before the server that `url` names, and the proxy's address into `url`.
    pub async fn before(url: &mut String) -> Self {
        let rest = url.split_once("://").unwrap().1;
        let host = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        let target = host.split(['/', '?']).next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *url = url.replacen(&target, &listener.local_addr().unwrap().to_string(), 1);
        let (is_open, seen) = watch::channel(true);
        Self { is_open, task: tokio::spawn(accept(listener, target.parse().unwrap(), seen)) }
    }

    /// Breaks every connection, and every one that comes.
    pub fn cut(&self) {
        self.is_open.send_replace(false);
    }

    pub fn mend(&self) {
        self.is_open.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, is_open: watch::Receiver<bool>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if *is_open.borrow() {
            tokio::spawn(forward(client, target, is_open.clone()));
        }
    }
}

async fn forward(mut client: TcpStream, target: SocketAddr, mut is_open: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = is_open.wait_for(|is_open| !is_open) => {}
        // However it ends, both sides are closed.
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
    }
}
