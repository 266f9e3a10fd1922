//! A bare echo server on mio: edge-triggered, one buffer per thread, one read and one write per event. Like the server under
//! test, each thread has a listener and an epoll of its own.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net, thread,
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

const LISTENER: Token = Token(usize::MAX);
const BUFFER_BYTES: usize = 64 * 1024;

/// Serves with a thread per listener until standard input ends.
pub fn serve(listeners: Vec<net::TcpListener>) -> anyhow::Result<()> {
    for listener in listeners {
        thread::spawn(move || {
            // A connection that breaks off is what the run will tell of.
            let code = i32::from(serve_one(listener).is_err());
            std::process::exit(code);
        });
    }
    // Ended or broken: the parent is gone.
    let _ended = io::copy(&mut io::stdin(), &mut io::sink());
    Ok(())
}

fn serve_one(listener: net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut streams)?;
            } else if let Some(slot) = streams.get_mut(event.token().0)
                && let Some(stream) = slot
                && event.is_readable()
                && !echo(stream, &mut buffer, event.is_read_closed())
            {
                *slot = None;
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, streams: &mut Vec<Option<TcpStream>>) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nodelay(true)?;
                poll.registry().register(&mut stream, Token(streams.len()), Interest::READABLE)?;
                streams.push(Some(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether the connection goes on. What is echoed here always fits into the socket's buffer: a client waits for its echo.
fn echo(stream: &mut TcpStream, buffer: &mut [u8], has_ended: bool) -> bool {
    loop {
        match stream.read(buffer) {
            Ok(0) => return false,
            Ok(count) if stream.write(&buffer[..count]).is_ok_and(|sent| sent == count) => {
                if count < buffer.len() && !has_ended {
                    return true;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return false,
        }
    }
}
