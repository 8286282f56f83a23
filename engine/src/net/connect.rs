//! Outbound sockets: the connect op and the future that waits for it.
//!
//! The op is submitted when the future is made; dropping the future cancels it. Connected streams
//! start in bulk mode.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::address::{Address, RawAddress};
use super::recv::gone;
use super::slot::{Flag, Peer, Phase, Socket};
use super::stream::Stream;
use crate::core::Core;
use crate::io::Io;
use crate::op::{Kind, NO_OP, Payload};
use crate::slab::Key;
use crate::task::current::wake;
use crate::task::raw::TaskId;

impl Io {
    /// Creates a socket and submits its connect.
    pub(crate) fn connect(&mut self, to: &Address) -> io::Result<Key> {
        if self.leaving {
            return Err(gone());
        }
        let fd = self.ring.socket(to.family())?;
        if matches!(to, Address::Inet(_)) {
            // Without it small writes wait for acknowledgements; never fatal.
            let _ = self.ring.set_nodelay(fd);
            // Without it a dead peer is noticed by the gateway's own timeouts; never fatal.
            let _ = self.ring.set_liveness(fd, &self.liveness);
        }
        let opened = self.millis();
        let mut socket = Socket::new(fd, Phase::Connecting, Peer::new(to.clone()), opened);
        socket.set(Flag::OUTBOUND, true);
        socket.set(Flag::BULK, true);
        let key = self.sockets.insert(socket);
        let address = Box::new(RawAddress::new(to));
        let op = self.submit(key, Kind::Connect, Payload::Address(address));
        if let Some(socket) = self.sockets.get_mut(key) {
            // No receive can be in flight yet: the field names the connect.
            socket.recv = op;
        }
        Ok(key)
    }

    pub(crate) fn on_connect(&mut self, key: Key, result: i32) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        socket.recv = NO_OP;
        socket.set(Flag::CANCELLING, false);
        if socket.phase != Phase::Connecting {
            return;
        }
        if result < 0 {
            socket.errno = -result;
        } else {
            socket.phase = Phase::Open;
        }
        wake(socket.reader);
        self.touch(key);
    }

    fn poll_connect(&mut self, key: Key, task: TaskId) -> Poll<io::Result<()>> {
        let Some(socket) = self.sockets.get_mut(key) else {
            return Poll::Ready(Err(gone()));
        };
        if socket.errno != 0 {
            return Poll::Ready(Err(io::Error::from_raw_os_error(socket.errno)));
        }
        if socket.phase == Phase::Connecting {
            socket.reader = task;
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

/// A connection on its way: ready with the stream. Dropping it cancels the attempt.
pub struct Connect {
    core: Rc<Core>,
    state: State,
}

enum State {
    Failed(io::Error),
    Waiting(Key),
    Done,
}

impl Connect {
    pub(crate) fn new(core: &Rc<Core>, to: &Address) -> Connect {
        let state = match core.io(|io| io.connect(to)) {
            Some(Ok(key)) => State::Waiting(key),
            Some(Err(error)) => State::Failed(error),
            None => State::Failed(gone()),
        };
        Connect { core: Rc::clone(core), state }
    }
}

impl Future for Connect {
    type Output = io::Result<Stream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Failed(error) => Poll::Ready(Err(error)),
            State::Done => Poll::Ready(Err(gone())),
            State::Waiting(key) => {
                let task = TaskId::of(cx.waker());
                match self.core.io(|io| io.poll_connect(key, task)) {
                    Some(Poll::Pending) => {
                        self.state = State::Waiting(key);
                        Poll::Pending
                    }
                    Some(Poll::Ready(Ok(()))) => {
                        Poll::Ready(Ok(Stream::new(Rc::clone(&self.core), key)))
                    }
                    Some(Poll::Ready(Err(error))) => {
                        self.core.io(|io| io.begin_close(key));
                        Poll::Ready(Err(error))
                    }
                    None => Poll::Ready(Err(gone())),
                }
            }
        }
    }
}

impl Drop for Connect {
    fn drop(&mut self) {
        if let State::Waiting(key) = self.state {
            self.core.io(|io| io.begin_close(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::RawFd;
    use std::time::Duration;

    use super::*;
    use crate::config::{Liveness, ShardConfig};
    use crate::net::bind::bind;
    use crate::runtime::Runtime;
    use crate::sys;

    fn fd_of(connect: &Connect) -> RawFd {
        let State::Waiting(key) = connect.state else { panic!("the connect was submitted") };
        connect.core.io(|io| io.sockets.get(key).map(|socket| socket.fd)).flatten().unwrap()
    }

    #[test]
    fn a_connecting_tcp_socket_watches_its_peer() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let liveness = Liveness { keepalive_idle: seconds(15), user_timeout: seconds(30) };
        let mut runtime =
            Runtime::new(&ShardConfig { liveness, ..ShardConfig::default() }).unwrap();
        let shard = runtime.shard();
        let bound = bind(&"127.0.0.1:0".parse().unwrap(), 1, 16).unwrap();
        let connect = shard.connect(bound[0].address());
        assert_eq!(sys::liveness(fd_of(&connect)), [1, 15, 5, 3, 30_000]);
        drop((connect, shard));
        runtime.turn();
    }
}
