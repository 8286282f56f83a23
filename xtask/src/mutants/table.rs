//! The faults. Each is a mistake that this kind of code invites, and that a test without a
//! simulated kernel would hardly meet.

use super::Mutant;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "generation-check-off",
        file: "engine/src/slab.rs",
        find: "        slot.generation = slot.generation.wrapping_add(1).max(1);\n",
        replace: "",
        why: "the key of an ended operation or socket names the next one in its slot",
    },
    Mutant {
        name: "buffer-not-given-back",
        file: "engine/src/buf/pool.rs",
        find: "        pages.free.borrow_mut().push(bid);\n",
        replace: "",
        why: "the pool shrinks by every page that was used",
    },
    Mutant {
        name: "buffer-given-back-early",
        file: "engine/src/buf/pool.rs",
        find: "            Some(count) => page.references.set(count),",
        replace: "            Some(_) => {}",
        why: "the kernel writes into a page that a view still shows",
    },
    Mutant {
        name: "starved-not-cleared",
        file: "engine/src/net/recv.rs",
        find: "                socket.set(Flag::STARVED, false);\n",
        replace: "",
        why: "a pause for want of buffers never ends",
    },
    Mutant {
        name: "want-not-noted",
        file: "engine/src/net/recv.rs",
        find: "        socket.set(Flag::WANT, true);\n        socket.set(Flag::PAUSED, false);\n",
        replace: "        socket.set(Flag::PAUSED, true);\n",
        why: "a reader that asked during a pause is never armed again",
    },
    Mutant {
        name: "rearm-mark-above-ring",
        file: "engine/src/net/recv.rs",
        find: "let mut room = self.pool.visible(group) as usize;",
        replace: "let mut room = (self.pool.visible(group) as usize)
                .saturating_sub(self.pool.count(group));",
        why: "readers are armed again at a number of buffers that the ring cannot hold",
    },
    Mutant {
        name: "enobufs-waiter-dropped",
        file: "engine/src/net/recv.rs",
        find: "            self.starved[group.index()].push_back(key);\n",
        replace: "",
        why: "a socket that found no buffer is forgotten",
    },
    Mutant {
        name: "fin-not-noted",
        file: "engine/src/net/recv.rs",
        find: "        socket.set(Flag::EOF, true);\n        wake(socket.reader);\n",
        replace: "        wake(socket.reader);\n",
        why: "a peer that ended is waited for",
    },
    Mutant {
        name: "cancel-forgotten",
        file: "engine/src/net/close.rs",
        find: "        self.stop_recv(key);\n        if let Some(socket)",
        replace: "        if let Some(socket)",
        why: "the receive outlives its socket, which is never freed",
    },
    Mutant {
        name: "send-cancel-forgotten",
        file: "engine/src/net/close.rs",
        find: "            self.cancel(send);\n            self.cancel(poll);",
        replace: "            self.cancel(poll);",
        why: "a send to a peer that takes nothing keeps its socket for ever",
    },
    Mutant {
        name: "half-close-lost",
        file: "engine/src/net/close.rs",
        find: "            let _ = self.ring.shutdown_write(socket.fd);\n",
        replace: "",
        why: "the peer never learns that the reply is over",
    },
    Mutant {
        name: "close-timer-ignored",
        file: "engine/src/net/close.rs",
        find: "            self.wheel.set(timer, Some(deadline.min(until)));\n",
        replace: "            self.wheel.set(timer, None);\n",
        why: "a peer that never closes is drained for ever",
    },
    Mutant {
        name: "short-send-not-continued",
        file: "engine/src/net/send.rs",
        find: "            self.send(key, block, sent > 0);\n",
        replace: "            self.recycle_block(block);\n            self.sent_all(key);\n",
        why: "what a short send left over is lost",
    },
    Mutant {
        name: "short-send-offset",
        file: "engine/src/buf/out.rs",
        find: "        self.skip += left;\n",
        replace: "        self.skip = left;\n",
        why: "a second short send of the same piece repeats bytes",
    },
    Mutant {
        name: "room-not-announced",
        file: "engine/src/net/send.rs",
        find: "        if active.queued() < half {
            wake(std::mem::replace(&mut active.room_waiter, TaskId::NONE));
        }",
        replace: "",
        why: "a sender that waited for room is never woken",
    },
    Mutant {
        name: "full-queue-drops-push",
        file: "engine/src/op.rs",
        find: "while ring.push(user_data, request(fd, op)) == Err(SqFull) {",
        replace: "if ring.push(user_data, request(fd, op)) == Err(SqFull) {",
        why: "an operation is lost when the submission queue is full",
    },
    Mutant {
        name: "timer-never-fires",
        file: "engine/src/time.rs",
        find: "                    due.push(target);\n",
        replace: "                    let _ = target;\n",
        why: "no deadline is ever met",
    },
    Mutant {
        name: "settle-twice",
        file: "gateway/src/track.rs",
        find: "if self.settled.replace(true) {",
        replace: "if self.settled.replace(false) {",
        why: "an exchange is counted and logged twice",
    },
    Mutant {
        name: "cut-reply-faked-whole",
        file: "gateway/src/exchange.rs",
        find: "reply_has_started() {\n        down.reset(Fault::BodyTruncated);\n",
        replace: "reply_has_started() {\n        let _ = down.send_end(None);\n",
        why: "a reply that the upstream cut looks complete to the client",
    },
    Mutant {
        name: "held-count-kept",
        file: "engine/src/buf/pool.rs",
        find: "        self.count_held(page.owner.get(), group, -1);\n",
        replace: "",
        why: "a socket stays charged for pages that it gave back, until it may arm no more",
    },
    Mutant {
        name: "blocked-chunk-lost",
        file: "gateway/src/relay.rs",
        find: "            *flow = Flow::Blocked(payload, end);\n",
        replace: "            drop(payload);\n",
        why: "payload that had to wait for room is dropped",
    },
    Mutant {
        name: "reply-end-early",
        file: "gateway/src/relay.rs",
        find: "        Ok(end && !interim)\n",
        replace: "        Ok(end || interim)\n",
        why: "an interim reply is taken for the final one",
    },
];
