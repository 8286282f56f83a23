//! A connection that many requests share: the first that needs it opens it, the others wait.
//!
//! It knows no protocol. One that ended is opened again by the next request, once for all that wait
//! for it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use crate::client::Fault;

/// The place of one connection; `C` is what a request needs of it.
pub(crate) struct Shared<C> {
    state: RefCell<State<C>>,
    opened: Cell<u64>,
}

enum State<C> {
    Closed,
    Opening(Vec<Waker>),
    Open(C),
}

impl<C: Clone> Shared<C> {
    /// Nothing is opened yet.
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { state: RefCell::new(State::Closed), opened: Cell::new(0) })
    }

    /// How often it was opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.get()
    }

    /// The connection, which `open` opens if need be. `open` is given what must live as long as the
    /// connection does.
    ///
    /// # Errors
    /// It cannot be opened; who waited for that fails with the one that tried.
    pub(crate) async fn connected(
        self: &Rc<Self>,
        open: impl AsyncFnOnce(Closed<C>) -> Result<C, Fault>,
    ) -> Result<C, Fault> {
        if let Some(result) = self.wait().await {
            return result;
        }
        // A request that gives up half-way leaves the opening to the next one.
        let connection = open(Closed(Rc::downgrade(self))).await?;
        self.opened.set(self.opened.get() + 1);
        self.turn(State::Open(connection.clone()));
        Ok(connection)
    }

    /// `None` for the one that is to open it.
    async fn wait(&self) -> Option<Result<C, Fault>> {
        let mut has_waited = false;
        poll_fn(|cx| match &mut *self.state.borrow_mut() {
            State::Open(connection) => Poll::Ready(Some(Ok(connection.clone()))),
            State::Opening(wakers) => {
                wakers.push(cx.waker().clone());
                has_waited = true;
                Poll::Pending
            }
            State::Closed if has_waited => Poll::Ready(Some(Err(Fault::Connect))),
            state => {
                *state = State::Opening(Vec::new());
                Poll::Ready(None)
            }
        })
        .await
    }

    fn turn(&self, state: State<C>) {
        if let State::Opening(wakers) = self.state.replace(state) {
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

/// Says when dropped that the connection is not there: it ended, or was never opened.
pub(crate) struct Closed<C: Clone>(Weak<Shared<C>>);

impl<C: Clone> Drop for Closed<C> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.turn(State::Closed);
        }
    }
}
