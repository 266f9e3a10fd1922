//! A bare write loop: one `write(2)` per socket and message, of bytes that were encoded before. The sockets block, so a
//! receiver that is behind is waited for, and nothing is ever dropped.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
};

/// Hands one message over to a write loop, the way [`serve`] reads it.
pub fn put(output: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    output.write_all(&length.to_le_bytes())?;
    output.write_all(frame)
}

/// Accepts `count` sockets and then writes to all of them whatever comes, until standard input ends.
pub fn serve(listener: &TcpListener, count: usize) -> anyhow::Result<()> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    let mut input = io::BufReader::new(io::stdin());
    let mut frame = Vec::new();
    while take(&mut input, &mut frame)? {
        write_to_all(&mut sockets, &frame)?;
    }
    Ok(())
}

fn take(input: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
        result => result?,
    }
    frame.resize(u32::from_le_bytes(length) as usize, 0);
    input.read_exact(frame)?;
    Ok(true)
}

fn write_to_all(sockets: &mut [TcpStream], frame: &[u8]) -> io::Result<()> {
    sockets.iter_mut().try_for_each(|socket| socket.write_all(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_travel_to_the_child_whole() {
        let mut pipe = Vec::new();
        put(&mut pipe, b"one").unwrap();
        put(&mut pipe, b"").unwrap();
        let mut input = &pipe[..];
        let mut frame = Vec::new();
        assert!(take(&mut input, &mut frame).unwrap());
        assert_eq!(frame, b"one");
        assert!(take(&mut input, &mut frame).unwrap());
        assert!(frame.is_empty());
        assert!(!take(&mut input, &mut frame).unwrap());
    }
}
