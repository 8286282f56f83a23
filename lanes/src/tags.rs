//! Which of up to 64 patterns can match a text, by small tags of its parts.
//!
//! A text is a sequence of segments. For each pattern six bytes say what a text must have: a prefix
//! of `run` segments whose hash ends in two given bytes, a segment at `place` whose hash ends in a
//! given byte, and a number of segments. Six compares of sixteen lanes each decide for sixteen
//! patterns. The answer has no false negatives; a false positive costs its reader a compare.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Lanes compared at once.
pub const LANES: usize = 16;
/// Bytes of one group of lanes: six planes.
pub const GROUP_BYTES: usize = 6 * LANES;
/// Patterns in all groups at most: one bit each in the answer.
pub const PATTERNS_MAX: usize = 64;
/// Prefixes and segments that can be asked for: 0 to 15.
pub const PARTS: usize = 16;

/// What one pattern asks of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Number of leading segments that `prefix` is the hash of; below [`PARTS`].
    pub run: u8,
    /// Hash of those segments.
    pub prefix: u16,
    /// A further segment, by position, and its hash; a position below [`PARTS`].
    pub segment: Option<(u8, u8)>,
    /// Number of segments, at most 126.
    pub depth: u8,
    /// Whether any larger number does instead.
    pub is_open: bool,
}

/// What a text has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Hash of the first `i` segments, low and high byte.
    pub prefix_low: [u8; PARTS],
    /// The high bytes.
    pub prefix_high: [u8; PARTS],
    /// Hash of segment `i`.
    pub segment: [u8; PARTS],
    /// Number of segments, 127 for more.
    pub depth: u8,
}

/// The high bit makes a shuffle give 0, which is what such a pattern asks for.
const NO_PLACE: u8 = 0x80;
const OPEN: u8 = 0x80;

/// Writes the planes of `tags`, [`GROUP_BYTES`] for each [`LANES`] or part of them.
pub fn encode(tags: &[Tag], out: &mut Vec<u8>) {
    for group in tags.chunks(LANES) {
        let mut planes = [[0; LANES]; 6];
        // Lanes without a pattern ask for a depth that no text has.
        planes[5] = [0x7f; LANES];
        for (lane, tag) in group.iter().enumerate() {
            debug_assert!(usize::from(tag.run) < PARTS && tag.depth < 0x7f);
            let (place, hash) = tag.segment.unwrap_or((NO_PLACE, 0));
            let [low, high] = tag.prefix.to_le_bytes();
            let depth = tag.depth | if tag.is_open { OPEN } else { 0 };
            for (plane, byte) in planes.iter_mut().zip([tag.run, low, high, place, hash, depth]) {
                plane[lane] = byte;
            }
        }
        out.extend(planes.iter().flatten());
    }
}

/// Patterns whose tags agree with `probe`: bit `i` for pattern `i`. `planes` beyond whole groups,
/// or beyond [`PATTERNS_MAX`] patterns, are left out.
#[inline]
pub fn candidates(planes: &[u8], probe: &Probe) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if !PORTABLE_ONLY.load(Relaxed) && std::arch::is_x86_feature_detected!("ssse3") {
        // SAFETY: the processor has just been asked.
        return unsafe { wide::candidates(planes, probe) };
    }
    portable(planes, probe)
}

/// Whether [`candidates`] leaves wide instructions alone although the processor has them.
static PORTABLE_ONLY: AtomicBool = AtomicBool::new(false);

/// Makes [`candidates`] answer as on a processor without wide instructions, in the whole process:
/// to measure what they are worth.
pub fn set_portable_only(only: bool) {
    PORTABLE_ONLY.store(only, Relaxed);
}

/// What [`candidates`] answers, without any instruction that a processor may lack.
pub fn portable(planes: &[u8], probe: &Probe) -> u64 {
    let groups = planes.chunks_exact(GROUP_BYTES).take(PATTERNS_MAX / LANES);
    groups.zip((0..).step_by(LANES)).fold(0, |found, (group, shift)| {
        let agrees = |lane: &usize| lane_agrees(group, *lane, probe);
        let bits = (0..LANES).filter(agrees).fold(0, |bits, lane| bits | 1_u64 << lane);
        found | bits << shift
    })
}

fn lane_agrees(group: &[u8], lane: usize, probe: &Probe) -> bool {
    let [run, low, high, place, hash, depth] = std::array::from_fn(|at| group[at * LANES + lane]);
    let depth_agrees = match depth {
        0x7f => false,
        OPEN.. => probe.depth > depth & !OPEN,
        exact => probe.depth == exact,
    };
    let prefix =
        shuffled(&probe.prefix_low, run) == low && shuffled(&probe.prefix_high, run) == high;
    prefix && shuffled(&probe.segment, place) == hash && depth_agrees
}

/// One lane of a byte shuffle: the byte at `index`, 0 where its high bit is set.
fn shuffled(table: &[u8; PARTS], index: u8) -> u8 {
    if index & NO_PLACE == 0 { table[usize::from(index) % PARTS] } else { 0 }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    //! Sixteen lanes by SSSE3, whose byte shuffle looks up all sixteen at once.

    use std::arch::x86_64::*;

    use super::{GROUP_BYTES, LANES, OPEN, PATTERNS_MAX, Probe};

    #[target_feature(enable = "ssse3")]
    pub(super) fn candidates(planes: &[u8], probe: &Probe) -> u64 {
        let wide = Wide {
            low: load(&probe.prefix_low),
            high: load(&probe.prefix_high),
            segment: load(&probe.segment),
            depth: _mm_set1_epi8(probe.depth.cast_signed()),
        };
        let mut found = 0;
        let groups = planes.chunks_exact(GROUP_BYTES).take(PATTERNS_MAX / LANES);
        for (group, shift) in groups.zip((0..).step_by(LANES)) {
            found |= wide.group(group) << shift;
        }
        found
    }

    struct Wide {
        low: __m128i,
        high: __m128i,
        segment: __m128i,
        depth: __m128i,
    }

    impl Wide {
        #[target_feature(enable = "ssse3")]
        fn group(&self, group: &[u8]) -> u64 {
            let mut planes = group.as_chunks::<LANES>().0.iter().map(|plane| load(plane));
            let mut next = || planes.next().unwrap_or(_mm_setzero_si128());
            let (run, low, high) = (next(), next(), next());
            let (place, hash, depth) = (next(), next(), next());
            let prefix = _mm_and_si128(
                _mm_cmpeq_epi8(_mm_shuffle_epi8(self.low, run), low),
                _mm_cmpeq_epi8(_mm_shuffle_epi8(self.high, run), high),
            );
            let segment = _mm_cmpeq_epi8(_mm_shuffle_epi8(self.segment, place), hash);
            let tags = _mm_and_si128(prefix, segment);
            _mm_movemask_epi8(_mm_and_si128(tags, self.depths(depth))) as u32 as u64
        }

        /// Equal, or greater where the pattern is open. Depths are below 128, so that signed
        /// compares do.
        #[target_feature(enable = "ssse3")]
        fn depths(&self, asked: __m128i) -> __m128i {
            let none = _mm_cmpeq_epi8(asked, _mm_set1_epi8(0x7f));
            let equal = _mm_andnot_si128(none, _mm_cmpeq_epi8(self.depth, asked));
            let is_open = _mm_cmpgt_epi8(_mm_setzero_si128(), asked);
            let least = _mm_and_si128(asked, _mm_set1_epi8(!OPEN.cast_signed()));
            let above = _mm_and_si128(is_open, _mm_cmpgt_epi8(self.depth, least));
            _mm_or_si128(equal, above)
        }
    }

    #[target_feature(enable = "ssse3")]
    fn load(bytes: &[u8; LANES]) -> __m128i {
        // SAFETY: the reference is to sixteen bytes, and the load asks for no alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tag() -> impl Strategy<Value = Tag> {
        let segment = prop::option::of((0_u8..16, 0_u8..3));
        (0_u8..16, 0_u16..3, segment, 0_u8..5, any::<bool>()).prop_map(
            |(run, prefix, segment, depth, is_open)| Tag {
                run,
                prefix: prefix * 0x101,
                segment,
                depth,
                is_open,
            },
        )
    }

    fn probe() -> impl Strategy<Value = Probe> {
        let part = || prop::array::uniform16(0_u8..3);
        (part(), part(), 0_u8..6).prop_map(|(prefix, segment, depth)| Probe {
            prefix_low: prefix,
            prefix_high: prefix,
            segment,
            depth,
        })
    }

    fn naive(tag: &Tag, probe: &Probe) -> bool {
        let run = usize::from(tag.run);
        let prefix = u16::from_le_bytes([probe.prefix_low[run], probe.prefix_high[run]]);
        let segment =
            tag.segment.is_none_or(|(place, hash)| probe.segment[usize::from(place)] == hash);
        let depth = probe.depth == tag.depth || (tag.is_open && probe.depth > tag.depth);
        // An open pattern wants more segments than it has.
        let depth = if tag.is_open { probe.depth > tag.depth } else { depth };
        prefix == tag.prefix && segment && depth
    }

    proptest! {
        #[test]
        fn both_forms_do_what_the_tags_say(
            tags in prop::collection::vec(tag(), 0..=PATTERNS_MAX),
            probe in probe(),
        ) {
            let mut planes = Vec::new();
            encode(&tags, &mut planes);
            prop_assert_eq!(planes.len(), tags.len().div_ceil(LANES) * GROUP_BYTES);
            let expected = tags.iter().zip(0..).fold(0, |found, (tag, bit)| {
                found | u64::from(naive(tag, &probe)) << bit
            });
            prop_assert_eq!(portable(&planes, &probe), expected);
            prop_assert_eq!(candidates(&planes, &probe), expected);
        }

        #[test]
        fn any_bytes_give_the_same_answer(
            planes in prop::collection::vec(any::<u8>(), 0..500),
            parts in prop::array::uniform16(any::<u8>()),
            depth in 0_u8..=127,
        ) {
            let probe = Probe { prefix_low: parts, prefix_high: parts, segment: parts, depth };
            prop_assert_eq!(portable(&planes, &probe), candidates(&planes, &probe));
        }
    }
}
