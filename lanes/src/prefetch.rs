//! Asking for memory before it is needed.

/// Bytes of a cache line on every processor this is built for.
const LINE: usize = 64;

/// Asks for the first `lines` cache lines of `bytes`, and does not wait for them. About a
/// nanosecond a line; nothing at all where the processor has no such instruction.
#[inline]
pub fn prefetch(bytes: &[u8], lines: usize) {
    for line in bytes.chunks(LINE).take(lines) {
        one(line.as_ptr());
    }
}

/// Asks for the line in which a value begins.
#[inline]
pub fn prefetch_line<T>(value: &T) {
    one(std::ptr::from_ref(value));
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn one<T>(line: *const T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing and faults nowhere, whatever the address; SSE is part of
    // x86_64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn one<T>(_: *const T) {}
