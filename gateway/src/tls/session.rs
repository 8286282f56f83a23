//! One rustls connection, of either side, driven step by step.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::Buf;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{ClientConfig, CommonState, Error, ServerConfig};

use super::fault::TlsFault;

/// A connection's state, without its bytes.
pub(super) enum Session {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What a step is for.
pub(super) enum Job<'a> {
    /// Put plaintext here.
    Open(&'a mut VecDeque<Buf>),
    /// Make one record of this, there.
    Seal(&'a [u8], &'a mut Vec<u8>),
    /// Say that nothing follows, there.
    Close(&'a mut Vec<u8>),
}

/// What a step has come to.
pub(super) enum Next {
    /// Go on.
    More,
    /// The handshake needs more from the peer.
    Blocked,
    /// The handshake is done and every whole record was opened; a `Seal` or `Close` is done.
    Ready,
    /// The peer has said that nothing follows; go on.
    PeerClosed,
    Failed(Error),
}

impl Session {
    pub(super) fn server(config: &Arc<ServerConfig>) -> Result<Session, TlsFault> {
        let made = UnbufferedServerConnection::new(Arc::clone(config));
        made.map(Session::Server).map_err(|error| TlsFault::of(&error, false))
    }

    pub(super) fn client(
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<Session, TlsFault> {
        let made = UnbufferedClientConnection::new(Arc::clone(config), name.clone());
        made.map(Session::Client).map_err(|error| TlsFault::of(&error, true))
    }

    pub(super) fn is_client(&self) -> bool {
        matches!(self, Session::Client(_))
    }

    pub(super) fn state(&self) -> &CommonState {
        match self {
            Session::Server(server) => server,
            Session::Client(client) => client,
        }
    }

    /// One step with `input` as the records that are there. Returns how many of its bytes are done
    /// with. What the protocol has to say is added to `words`.
    pub(super) fn step(
        &mut self,
        input: &mut [u8],
        job: &mut Job<'_>,
        words: &mut Vec<u8>,
    ) -> (usize, Next) {
        match self {
            Session::Server(server) => handle(server.process_tls_records(input), job, words),
            Session::Client(client) => handle(client.process_tls_records(input), job, words),
        }
    }

    /// Does what a `Seal` or `Close` asks for; `records` is what was received of the next record,
    /// none of it whole.
    pub(super) fn act(
        &mut self,
        records: &mut [u8],
        mut job: Job<'_>,
        words: &mut Vec<u8>,
    ) -> Result<(), Error> {
        loop {
            let (discard, next) = self.step(records, &mut job, words);
            debug_assert_eq!(discard, 0, "no whole record is there");
            match next {
                Next::More | Next::PeerClosed => {}
                Next::Ready => return Ok(()),
                Next::Blocked => return Err(Error::HandshakeNotComplete),
                Next::Failed(error) => return Err(error),
            }
        }
    }

    /// After a fault: adds what is still to be said to `words`, the alert last. Nothing may be
    /// asked of the session after that.
    pub(super) fn last_words(&mut self, words: &mut Vec<u8>) {
        let mut nowhere = VecDeque::new();
        // What waits to be sent comes before the records that are there are looked at once more.
        while self.state().wants_write() {
            let before = words.len();
            let (_, _) = self.step(&mut [], &mut Job::Open(&mut nowhere), words);
            debug_assert!(words.len() > before, "a chunk was encoded");
        }
    }
}

fn handle<Data>(
    UnbufferedStatus { discard, state, .. }: UnbufferedStatus<'_, '_, Data>,
    job: &mut Job<'_>,
    words: &mut Vec<u8>,
) -> (usize, Next) {
    let mut used = discard;
    let next = match state {
        Err(error) => Next::Failed(error),
        Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut |out| data.encode(out), words),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Next::More
        }
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let Job::Open(opened) = job else { return (used, Next::Blocked) };
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        used += record.discard;
                        if !record.payload.is_empty() {
                            opened.push_back(Buf::copy_of(record.payload));
                        }
                    }
                    Err(error) => return (used, Next::Failed(error)),
                }
            }
            Next::More
        }
        Ok(ConnectionState::PeerClosed) => Next::PeerClosed,
        Ok(ConnectionState::WriteTraffic(traffic)) => write(traffic, job),
        Ok(ConnectionState::BlockedHandshake) => Next::Blocked,
        Ok(ConnectionState::Closed) => Next::Ready,
        // Early data is never offered.
        Ok(_) => Next::Failed(Error::General("early data".into())),
    };
    (used, next)
}

fn encode(
    call: &mut dyn FnMut(&mut [u8]) -> Result<usize, EncodeError>,
    words: &mut Vec<u8>,
) -> Next {
    let at = words.len();
    let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = call(&mut [])
    else {
        return Next::More;
    };
    words.resize(at + required_size, 0);
    match call(words.get_mut(at..).unwrap_or_default()) {
        Ok(_) => Next::More,
        Err(error) => Next::Failed(Error::General(error.to_string())),
    }
}

fn write<Data>(mut traffic: WriteTraffic<'_, Data>, job: &mut Job<'_>) -> Next {
    let (sealed, written) = match job {
        Job::Open(_) => return Next::Ready,
        Job::Seal(plain, sealed) => {
            sealed.resize(plain.len() + SEAL_BYTES_MAX, 0);
            let written = traffic.encrypt(plain, sealed);
            (sealed, written)
        }
        Job::Close(sealed) => {
            sealed.resize(SEAL_BYTES_MAX, 0);
            let written = traffic.queue_close_notify(sealed);
            (sealed, written)
        }
    };
    match written {
        Ok(len) => {
            sealed.truncate(len);
            Next::Ready
        }
        Err(EncryptError::EncryptExhausted) => Next::Failed(Error::EncryptError),
        Err(error) => Next::Failed(Error::General(error.to_string())),
    }
}

/// A record is longer than its content by a header of 5 bytes, an explicit nonce of 8 (TLS 1.2), a
/// content type of 1 (TLS 1.3) and a tag of 16. A key update, which rustls makes of its own accord
/// when a key has sealed enough, comes in front: 27 bytes.
const SEAL_BYTES_MAX: usize = 64;
