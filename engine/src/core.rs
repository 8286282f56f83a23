//! What a shard's runtime and its handles share: one `Rc`, short borrows.
//!
//! After the runtime's end the I/O part is gone and every handle is inert: calls find nothing and
//! answer "not connected".

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use crate::config::ShardConfig;
use crate::io::Io;
use crate::task::Tasks;
use crate::task::current::Local;
use crate::task::raw::TaskId;

/// The shared part.
pub(crate) struct Core {
    pub(crate) config: ShardConfig,
    pub(crate) local: Rc<Local>,
    pub(crate) tasks: Tasks,
    pub(crate) now: Cell<Instant>,
    /// Read from the ring at most once a turn.
    pub(crate) wall: Cell<Option<SystemTime>>,
    /// Tasks that go on with the next turn.
    pub(crate) next_turn: RefCell<Vec<TaskId>>,
    /// None once the runtime has ended.
    pub(crate) io: RefCell<Option<Box<Io>>>,
}

impl Core {
    pub(crate) fn new(config: &ShardConfig, local: Rc<Local>, io: Io) -> Rc<Core> {
        Rc::new(Core {
            config: config.clone(),
            tasks: Tasks::new(Rc::clone(&local)),
            local,
            now: Cell::new(io.now),
            wall: Cell::new(None),
            next_turn: RefCell::new(Vec::new()),
            io: RefCell::new(Some(Box::new(io))),
        })
    }

    /// Runs `call` under a short borrow; None after the runtime's end. Shared bytes that `call`
    /// let go of are dropped here, after the borrow: their drop may run foreign code.
    pub(crate) fn io<R>(&self, call: impl FnOnce(&mut Io) -> R) -> Option<R> {
        let mut borrow = self.io.borrow_mut();
        let io = borrow.as_mut()?;
        let result = call(io);
        if io.trash.is_empty() {
            return Some(result);
        }
        let trash = std::mem::take(&mut io.trash);
        drop(borrow);
        drop(trash);
        Some(result)
    }
}
