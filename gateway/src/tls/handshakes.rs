//! Whose turn it is: steps of handshakes within one turn of the shard are counted.
//!
//! A step of a handshake is one signature or one key agreement: 0.05 to 1 ms, a hundred times what
//! any other poll takes. A flood of new connections would hold established ones up for as long as
//! all of its steps take together; so a turn has room for a few steps, and who finds none stands
//! in line for the next turn, in the order of arrival. Between two turns the ring is looked at, and
//! whatever it brings for others runs.
//!
//! H1 Nobody takes a step past somebody who waits.
//! H2 A waiter whose connection is gone costs no step.
//! Cost without a crowd: one count a step, and one task for as long as there are steps.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use engine::Shard;

use super::shared::Shared;

/// A place in line; true once its turn has come.
pub(super) type Place = Rc<Cell<bool>>;

/// The steps of a shard.
#[derive(Default)]
pub(super) struct Handshakes {
    steps_per_turn: Cell<u32>,
    left: Cell<u32>,
    waiting: RefCell<VecDeque<(Place, Waker)>>,
    /// The task that gives the next turn its steps is there.
    is_refilling: Cell<bool>,
    home: OnceCell<(Shard, Weak<Shared>)>,
}

impl Handshakes {
    pub(super) fn run_on(&self, shard: &Shard, shared: &Rc<Shared>) {
        let _ = self.home.set((shard.clone(), Rc::downgrade(shared)));
    }

    pub(super) fn set_steps(&self, steps_per_turn: u32) {
        self.steps_per_turn.set(steps_per_turn.max(1));
        if !self.is_refilling.get() {
            self.left.set(self.steps_per_turn.get());
        }
    }

    /// Ready when a step may be taken, which is then counted.
    pub(super) fn poll(&self, place: &mut Option<Place>, cx: &Context<'_>) -> Poll<()> {
        if let Some(mine) = place {
            if !mine.get() {
                return Poll::Pending;
            }
            *place = None;
            return Poll::Ready(());
        }
        self.refill_next_turn();
        if self.left.get() > 0 && self.waiting.borrow().is_empty() {
            self.left.set(self.left.get() - 1);
            return Poll::Ready(());
        }
        let mine = Rc::new(Cell::new(false));
        self.waiting.borrow_mut().push_back((mine.clone(), cx.waker().clone()));
        *place = Some(mine);
        Poll::Pending
    }

    fn refill_next_turn(&self) {
        if self.is_refilling.replace(true) {
            return;
        }
        let Some((shard, shared)) = self.home.get() else { return };
        let (turns, shared) = (shard.clone(), shared.clone());
        shard.spawn(async move {
            loop {
                turns.next_turn().await;
                let Some(shared) = shared.upgrade() else { return };
                if shared.handshakes.refill() {
                    return;
                }
            }
        });
    }

    /// A new turn: its steps go to those who wait first. True when nobody needed them.
    fn refill(&self) -> bool {
        let is_idle = self.left.get() == self.steps_per_turn.get();
        self.left.set(self.steps_per_turn.get());
        let mut waiting = self.waiting.borrow_mut();
        while self.left.get() > 0
            && let Some((place, waker)) = waiting.pop_front()
        {
            if Rc::strong_count(&place) > 1 {
                self.left.set(self.left.get() - 1);
                place.set(true);
                waker.wake();
            }
        }
        let is_done = is_idle && self.left.get() == self.steps_per_turn.get();
        self.is_refilling.set(!is_done);
        is_done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(handshakes: &Handshakes, count: usize) -> Vec<Option<Place>> {
        let cx = Context::from_waker(Waker::noop());
        let mut places: Vec<Option<Place>> = vec![None; count];
        for place in &mut places {
            let _ = handshakes.poll(place, &cx);
        }
        places
    }

    fn ready(handshakes: &Handshakes, places: &mut [Option<Place>]) -> Vec<usize> {
        let cx = Context::from_waker(Waker::noop());
        let waits = places.iter().enumerate().filter(|(_, place)| place.is_some());
        let waits: Vec<usize> = waits.map(|(index, _)| index).collect();
        let is_ready = |index: &usize| handshakes.poll(&mut places[*index], &cx).is_ready();
        waits.into_iter().filter(is_ready).collect()
    }

    #[test]
    fn a_turn_has_its_steps_and_who_came_first_goes_first() {
        let handshakes = Handshakes::default();
        handshakes.set_steps(2);
        let mut places = crowd(&handshakes, 7);
        assert_eq!(places.iter().filter(|place| place.is_none()).count(), 2, "this turn's");
        assert!(ready(&handshakes, &mut places).is_empty());
        assert!(!handshakes.refill());
        let late = &mut crowd(&handshakes, 1)[0];
        assert!(late.is_some(), "H1: nobody passes those who wait");
        assert_eq!(ready(&handshakes, &mut places), [2, 3]);
        places[4] = None;
        assert!(!handshakes.refill());
        assert_eq!(ready(&handshakes, &mut places), [5, 6], "H2: who left costs no step");
        assert!(!handshakes.refill());
        assert!(handshakes.poll(late, &Context::from_waker(Waker::noop())).is_ready());
        assert!(!handshakes.refill(), "one step was taken in this turn");
        assert!(handshakes.refill(), "and none in the next");
        assert_eq!(crowd(&handshakes, 2).iter().flatten().count(), 0);
    }
}
