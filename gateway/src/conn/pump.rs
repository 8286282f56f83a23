//! The task of a connection: its greeting, its steps, and the exchange of a one-stream wire.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use protocols::{Fault, Head, StreamId};

use super::Conn;
use super::step::Step;
use crate::exchange;
use crate::greet::Greeting;

/// An exchange under way.
pub(crate) struct Running(pub(crate) Pin<Box<dyn Future<Output = ()>>>);

/// The task of a connection. A one-stream wire runs its exchange inside; a multiplexed one gets a
/// task a stream.
pub(crate) struct Pump {
    conn: Rc<Conn>,
    /// What must come before the wire begins.
    greeting: Option<Box<Greeting>>,
    exchange: Option<Running>,
}

impl Pump {
    pub(crate) fn new(conn: Rc<Conn>, greeting: Option<Box<Greeting>>) -> Pump {
        Pump { conn, greeting, exchange: None }
    }

    /// Ready when the wire may begin; false when the connection is refused.
    fn poll_greeting(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(greeting) = &mut self.greeting else { return Poll::Ready(true) };
        if self.conn.closed.get() {
            return Poll::Ready(false);
        }
        let result = ready!(greeting.poll(&self.conn, cx));
        self.greeting = None;
        let Err(refused) = result else { return Poll::Ready(true) };
        self.conn.closed.set(true);
        refused.conclude(&self.conn);
        Poll::Ready(false)
    }

    fn begin(&mut self, id: StreamId, head: Box<Head>, end: bool) {
        let exchange = exchange::start(self.conn.end(id), head, end);
        if self.conn.one_stream() {
            self.exchange = Some(exchange);
        } else {
            self.conn.state.shard.spawn(exchange.0);
        }
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) {
        if let Some(exchange) = &mut self.exchange
            && exchange.0.as_mut().poll(cx).is_ready()
        {
            self.exchange = None;
        }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let pump = self.get_mut();
        pump.conn.attach(cx);
        pump.conn.stream.awake();
        if !ready!(pump.poll_greeting(cx)) {
            return Poll::Ready(());
        }
        loop {
            pump.poll_exchange(cx);
            match pump.conn.step(cx) {
                Step::Head(id, head, end) => pump.begin(id, head, end),
                Step::Wait => {
                    pump.conn.stream.settle(cx);
                    return Poll::Pending;
                }
                Step::Closed if pump.exchange.is_none() => return Poll::Ready(()),
                Step::Closed => return Poll::Pending,
            }
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.exchange = None;
        if !self.conn.closed.replace(true) {
            self.conn.stream.abort();
            self.conn.tell_all(Fault::Cancelled);
        }
        self.conn.state.closed(&self.conn);
    }
}
