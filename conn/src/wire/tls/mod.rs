//! TLS of one connection, without IO: records in, plain bytes out, and back, by rustls.
//!
//! Always holds: an idle connection owns no buffer, only the state of its keys. `received` holds an unfinished record,
//! `unsent` what the kernel did not take; plain bytes are sealed only when `unsent` is empty, so it stays short.

use std::{fmt, sync::Arc};

use rustls::{
    ContentType, Error, ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus},
};

/// Most plain bytes sealed at once.
pub const SEAL_BYTES_MAX: usize = 32 * 1024;

/// Room for what [`SEAL_BYTES_MAX`] become: a header, a tag and a nonce for each record, and a change of keys between them.
pub const SEALED_BYTES_MAX: usize = SEAL_BYTES_MAX + 1024;

/// Longest unfinished input: a whole handshake message, or a record.
const RECEIVED_BYTES_MAX: usize = 80 * 1024;

/// One TLS connection.
pub struct Tls {
    connection: UnbufferedServerConnection,
    received: Vec<u8>,
    unsent: Vec<u8>,
    is_open: bool,
    said_goodbye: bool,
}

/// How [`Tls::receive`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// More may come.
    More,
    /// The peer says that it was all.
    End,
}

impl Tls {
    /// A connection that was just accepted.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Self { connection, received: Vec::new(), unsent: Vec::new(), is_open: false, said_goodbye: false })
    }

    /// Whether the handshake is over.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// What has to be written before anything else.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// The kernel took the first `count` bytes of [`Tls::unsent`].
    pub fn advance(&mut self, count: usize) {
        if count >= self.unsent.len() {
            self.unsent = Vec::new();
        } else {
            self.unsent.drain(..count);
        }
    }

    /// Keeps sealed bytes that the kernel did not take.
    pub fn keep_unsent(&mut self, sealed: &[u8]) {
        self.unsent.extend_from_slice(sealed);
    }

    /// Keeps bytes of the socket until [`Tls::receive`] is called again.
    pub fn keep_received(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// Takes bytes of the socket, which are decrypted where they lie; appends what they say to `plain`. An error ends the
    /// connection, after its alert was written.
    pub fn receive(&mut self, fresh: &mut [u8], plain: &mut Vec<u8>) -> Result<Received, Error> {
        let mut received = std::mem::take(&mut self.received);
        if received.is_empty() {
            let (consumed, result) = self.process(fresh, plain);
            self.received = fresh[consumed..].to_vec();
            return self.judge(result);
        }
        received.extend_from_slice(fresh);
        let (consumed, result) = self.process(&mut received, plain);
        if consumed < received.len() {
            received.drain(..consumed);
            self.received = received;
        }
        self.judge(result)
    }

    /// Seals `plain`, [`SEAL_BYTES_MAX`] at most, into `sealed`, which has room for [`SEALED_BYTES_MAX`]; returns the length.
    pub fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) -> Result<usize, EncryptError> {
        debug_assert!(self.is_open && plain.len() <= SEAL_BYTES_MAX);
        self.while_open(|traffic| traffic.encrypt(plain, sealed))
    }

    /// Tells the peer that this was all.
    pub fn say_goodbye(&mut self) -> Result<(), EncryptError> {
        if self.said_goodbye || !self.is_open {
            return Ok(());
        }
        self.said_goodbye = true;
        let mut alert = [0; 128];
        let count = self.while_open(|traffic| traffic.queue_close_notify(&mut alert))?;
        self.unsent.extend_from_slice(&alert[..count]);
        Ok(())
    }

    fn judge(&mut self, result: Result<Received, Error>) -> Result<Received, Error> {
        if self.received.len() > RECEIVED_BYTES_MAX {
            self.is_open = false;
            return Err(Error::General("an endless handshake message".into()));
        }
        result
    }

    fn while_open<T>(
        &mut self,
        act: impl FnOnce(
            &mut rustls::unbuffered::WriteTraffic<'_, rustls::server::ServerConnectionData>,
        ) -> Result<T, EncryptError>,
    ) -> Result<T, EncryptError> {
        if !self.is_open {
            return Err(EncryptError::EncryptExhausted);
        }
        loop {
            // Not with empty input: rustls remembers where parts of an unfinished message lie in it.
            match self.connection.process_tls_records(&mut self.received).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => return act(&mut traffic),
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.unsent),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                // Nothing can be written to what is over.
                _ => return Err(EncryptError::EncryptExhausted),
            }
        }
    }

    /// Returns how many bytes of `input` are done with.
    fn process(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> (usize, Result<Received, Error>) {
        let (mut consumed, mut received) = (0, Received::More);
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(&mut input[consumed..]);
            let is_over = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut data, &mut self.unsent);
                    false
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    received = Received::End;
                    false
                }
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.is_open = true;
                    true
                }
                Ok(_) => true,
                Err(error) => {
                    self.fail(&mut input[consumed + discard..]);
                    return (input.len(), Err(error));
                }
            };
            consumed += discard;
            if is_over {
                return (consumed, Ok(received));
            }
        }
    }

    /// After an error nothing more can be read or sealed. Asked again, with the rest of the same input, rustls hands out what
    /// it had to say before, and then the alert that tells the peer; asked after that, it would stumble over that input.
    fn fail(&mut self, rest: &mut [u8]) {
        self.is_open = false;
        loop {
            let start = self.unsent.len();
            match self.connection.process_tls_records(rest).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.unsent),
                _ => return,
            }
            let record = self.unsent.get(start).copied().map(ContentType::from);
            if !matches!(record, Some(ContentType::Handshake | ContentType::ChangeCipherSpec)) {
                return;
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

fn encode<Data>(data: &mut rustls::unbuffered::EncodeTlsData<'_, Data>, unsent: &mut Vec<u8>) {
    let start = unsent.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = data.encode(&mut []) {
        unsent.resize(start + required_size, 0);
        let written = data.encode(&mut unsent[start..]).unwrap_or(0);
        unsent.truncate(start + written);
    }
}

#[cfg(test)]
mod tests;
