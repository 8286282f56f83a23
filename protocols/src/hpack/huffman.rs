//! The Huffman code of string literals (RFC 7541 §5.2, Appendix B).
//!
//! The code is canonical: sorted by length and then by symbol, each code is the one before plus
//! one. So the lengths alone are written down here, and the compiler derives the codes and the
//! tables from them.
//!
//! Decoding looks at the next 11 bits at once, which often hold two symbols; a longer code is found
//! by its place among the codes of its length. Cost: 2 ns a symbol to decode and 1.3 ns to encode,
//! from tables of 8 KiB and 2 KiB. Steps of 12 bits were a fifth faster, but their table of 16 KiB
//! would take half of a core's first cache.

use crate::error::Fault;

/// Bits of the code of each symbol; the last one is EOS.
const BITS: [u8; SYMBOLS_COUNT] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const SYMBOLS_COUNT: usize = 257;
const EOS: u16 = 256;
const BITS_MIN: u8 = 5;
const BITS_MAX: u8 = 30;

/// Decodes a string behind what `out` holds. Memory: 8/5 of the input.
///
/// # Errors
///
/// [`Fault::BadHuffman`]: EOS within the string, or padding that is longer than 7 bits or not all
/// ones. What is behind `out` is then of no use.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let start = out.len();
    // No symbol takes fewer than 5 bits; a step writes two bytes also where it found one symbol.
    out.resize(start + input.len() * 8 / usize::from(BITS_MIN) + 2, 0);
    let written = decode_into(input, out.get_mut(start..).unwrap_or_default())?;
    out.truncate(start + written);
    Ok(())
}

fn decode_into(input: &[u8], out: &mut [u8]) -> Result<usize, Fault> {
    let (mut bits, mut written) = (Bits { rest: input, held: 0, count: 0 }, 0);
    loop {
        bits.fill();
        while bits.count >= STEP_BITS {
            let step = bits.step();
            if step.bits == Step::LONG.bits {
                break;
            }
            put(out, written, step.symbols)?;
            bits.skip(step.bits);
            written += step.symbols_count();
        }
        if bits.count >= BITS_MAX || bits.rest.is_empty() {
            let Some(symbol) = bits.slow_symbol()? else { return Ok(written) };
            put(out, written, [symbol, 0])?;
            written += 1;
        }
    }
}

#[inline]
fn put(out: &mut [u8], at: usize, symbols: [u8; 2]) -> Result<(), Fault> {
    let place = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
    *place.ok_or(Fault::BadHuffman)? = symbols;
    Ok(())
}

/// Bytes that [`encode`] will write.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    let bits_of = |&byte: &u8| u64::from(BITS.get(usize::from(byte)).copied().unwrap_or_default());
    text.iter().map(bits_of).sum::<u64>().div_ceil(8) as usize
}

/// Appends the codes of a string, padded with ones.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    // `held` ends in `count` bits that are still to be written: at most 31 before a code comes.
    let (mut held, mut count) = (0u64, 0u32);
    for &byte in text {
        let (code, bits) = CODES.get(usize::from(byte)).copied().unwrap_or_default();
        held = held << bits | u64::from(code);
        count += u32::from(bits);
        if count >= 32 {
            count -= 32;
            out.extend_from_slice(&((held >> count) as u32).to_be_bytes());
        }
    }
    let padding = count.wrapping_neg() % 8;
    held = held << padding | ((1 << padding) - 1);
    count += padding;
    let tail = (held << (64 - count.max(1))).to_be_bytes();
    out.extend(tail.iter().take(count as usize / 8));
}

/// Input that is taken by the bit.
struct Bits<'a> {
    rest: &'a [u8],
    /// The next bits, the first one on top, zeros behind them.
    held: u64,
    /// How many they are.
    count: u8,
}

impl Bits<'_> {
    /// Holds at least 56 bits afterwards, or all that are left.
    #[inline]
    fn fill(&mut self) {
        let room = (63 - self.count) / 8;
        let word = self.rest.first_chunk().map(|word| u64::from_be_bytes(*word));
        if let (Some(word), Some(rest)) = (word, self.rest.get(usize::from(room)..)) {
            // Bits beyond the count are those of the bytes to come: the next call sets them again.
            self.held |= word >> self.count;
            (self.count, self.rest) = (self.count + room * 8, rest);
            return;
        }
        while let Some((&byte, rest)) = self.rest.split_first().filter(|_| self.count <= 56) {
            self.held |= u64::from(byte) << (56 - self.count);
            (self.count, self.rest) = (self.count + 8, rest);
        }
    }

    /// The next 1 to 32 bits.
    #[inline]
    fn peek(&self, bits: u8) -> u32 {
        (self.held >> (64 - bits)) as u32
    }

    #[inline]
    fn skip(&mut self, bits: u8) {
        self.held <<= bits;
        self.count -= bits;
    }

    /// What the next bits begin with.
    #[inline]
    fn step(&self) -> Step {
        STEPS.get(self.peek(STEP_BITS) as usize).copied().unwrap_or(Step::LONG)
    }

    /// The next symbol, where a step does not find it: its code is longer, or too few bits are left
    /// for a step. None where the string ends instead.
    #[inline(never)]
    fn slow_symbol(&mut self) -> Result<Option<u8>, Fault> {
        let window = self.peek(32);
        let class = CLASSES.iter().find(|class| window <= class.last && class.bits > 0);
        let class = class.copied().unwrap_or_default();
        if class.bits > self.count {
            return self.check_padding().map(|()| None);
        }
        let place = (window - class.first) >> (32 - class.bits);
        let symbol = SORTED.get(usize::from(class.at) + place as usize).copied().unwrap_or(EOS);
        self.skip(class.bits);
        u8::try_from(symbol).map(Some).map_err(|_| Fault::BadHuffman)
    }

    /// What is left is padding: at most 7 bits, the first ones of EOS.
    fn check_padding(&self) -> Result<(), Fault> {
        let is_padding = self.count < 8 && self.held.leading_ones() == u32::from(self.count);
        if is_padding { Ok(()) } else { Err(Fault::BadHuffman) }
    }
}

const STEP_BITS: u8 = 11;

/// What the next `STEP_BITS` bits begin with.
#[derive(Clone, Copy)]
struct Step {
    symbols: [u8; 2],
    /// Bits of the first symbol.
    first_bits: u8,
    /// Bits of both symbols; `first_bits` where there is no room for a second one.
    bits: u8,
}

impl Step {
    /// A code that is longer than a step: more bits than are ever held.
    const LONG: Step = Step { symbols: [0; 2], first_bits: u8::MAX, bits: u8::MAX };

    #[inline]
    fn symbols_count(self) -> usize {
        1 + usize::from(self.bits != self.first_bits)
    }
}

/// The codes of one length.
#[derive(Clone, Copy, Default)]
struct Class {
    /// The first and the last of them, at the top of 32 bits; ones behind the last.
    first: u32,
    last: u32,
    /// Where their symbols begin in `SORTED`.
    at: u16,
    bits: u8,
}

/// Code and its bits, by symbol.
static CODES: [(u32, u8); SYMBOLS_COUNT] = codes();
static STEPS: [Step; 1 << STEP_BITS] = steps();
static CLASSES: [Class; BITS_MAX as usize + 1] = classes();
/// Symbols by their codes' length, then by number.
static SORTED: [u16; SYMBOLS_COUNT] = sorted();

// What follows is evaluated by the compiler, never at run time.

#[expect(clippy::indexing_slicing, reason = "an index out of bounds is a compile error")]
const fn sorted() -> [u16; SYMBOLS_COUNT] {
    let (mut sorted, mut count, mut bits) = ([0; SYMBOLS_COUNT], 0, BITS_MIN);
    while bits <= BITS_MAX {
        let mut symbol = 0;
        while symbol < SYMBOLS_COUNT {
            if BITS[symbol] == bits {
                sorted[count] = symbol as u16;
                count += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    assert!(count == SYMBOLS_COUNT && sorted[count - 1] == EOS);
    sorted
}

#[expect(clippy::indexing_slicing, reason = "an index out of bounds is a compile error")]
const fn codes() -> [(u32, u8); SYMBOLS_COUNT] {
    let sorted = sorted();
    let (mut codes, mut code, mut bits, mut at) = ([(0, 0); SYMBOLS_COUNT], 0u32, BITS_MIN, 0);
    while at < SYMBOLS_COUNT {
        let symbol = sorted[at] as usize;
        code <<= BITS[symbol] - bits;
        bits = BITS[symbol];
        codes[symbol] = (code, bits);
        code += 1;
        at += 1;
    }
    assert!(code == 1 << BITS_MAX, "the lengths are not those of a complete code");
    codes
}

#[expect(clippy::indexing_slicing, reason = "an index out of bounds is a compile error")]
const fn classes() -> [Class; BITS_MAX as usize + 1] {
    let (sorted, codes) = (sorted(), codes());
    let mut classes = [Class { first: 0, last: 0, at: 0, bits: 0 }; BITS_MAX as usize + 1];
    let mut at = SYMBOLS_COUNT;
    while at > 0 {
        at -= 1;
        let (code, bits) = codes[sorted[at] as usize];
        let first = code << (32 - bits);
        let class = &mut classes[bits as usize];
        if class.bits == 0 {
            class.last = first | (u32::MAX >> bits);
        }
        (class.first, class.at, class.bits) = (first, at as u16, bits);
    }
    classes
}

#[expect(clippy::indexing_slicing, reason = "an index out of bounds is a compile error")]
const fn steps() -> [Step; 1 << STEP_BITS] {
    let (codes, sorted) = (codes(), sorted());
    let (mut steps, mut at) = ([Step::LONG; 1 << STEP_BITS], 0);
    while at < SYMBOLS_COUNT && BITS[sorted[at] as usize] <= STEP_BITS {
        let (code, first_bits) = codes[sorted[at] as usize];
        let step = Step { symbols: [sorted[at] as u8, 0], first_bits, bits: first_bits };
        repeat(&mut steps, code, first_bits, step);
        let mut next = 0;
        while first_bits + BITS[sorted[next] as usize] <= STEP_BITS {
            let (second, second_bits) = codes[sorted[next] as usize];
            let bits = first_bits + second_bits;
            let step = Step { symbols: [sorted[at] as u8, sorted[next] as u8], first_bits, bits };
            repeat(&mut steps, code << second_bits | second, bits, step);
            next += 1;
        }
        at += 1;
    }
    steps
}

/// Puts a step wherever the first `bits` bits are `code`.
#[expect(clippy::indexing_slicing, reason = "an index out of bounds is a compile error")]
const fn repeat(steps: &mut [Step; 1 << STEP_BITS], code: u32, bits: u8, step: Step) {
    let spare = STEP_BITS - bits;
    let (mut at, end) = ((code as usize) << spare, (code as usize + 1) << spare);
    while at < end {
        steps[at] = step;
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// RFC 7541 Appendix B: code and bits by symbol.
    fn appendix_b() -> Vec<(u32, u8)> {
        let lines = include_str!("../../testdata/hpack_appendix_b.tsv").lines();
        let row = |line: &str| {
            let cells: Vec<&str> = line.split('\t').collect();
            (u32::from_str_radix(cells[1], 16).unwrap(), cells[2].parse().unwrap())
        };
        lines.filter(|line| !line.starts_with('#')).map(row).collect()
    }

    /// The decoder that RFC 7541 §5.2 describes: bit by bit, every code looked up whole.
    struct Plain(BTreeMap<(u8, u32), u16>);

    impl Plain {
        fn new() -> Plain {
            let codes = appendix_b().into_iter().zip(0..);
            Plain(codes.map(|((code, bits), symbol)| ((bits, code), symbol)).collect())
        }

        fn decode(&self, input: &[u8]) -> Result<Vec<u8>, Fault> {
            let (mut out, mut code, mut bits) = (Vec::new(), 0, 0);
            for bit in input.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
                (code, bits) = (code << 1 | u32::from(bit), bits + 1);
                match self.0.get(&(bits, code)) {
                    Some(&EOS) => return Err(Fault::BadHuffman),
                    Some(&symbol) => {
                        out.push(symbol as u8);
                        (code, bits) = (0, 0);
                    }
                    None => {}
                }
            }
            let is_padding = bits < 8 && code == (1 << bits) - 1;
            if is_padding { Ok(out) } else { Err(Fault::BadHuffman) }
        }
    }

    fn decoded(input: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut out = b"before".to_vec();
        decode(input, &mut out)?;
        assert!(out.starts_with(b"before"));
        Ok(out.split_off(6))
    }

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(text, &mut out);
        assert_eq!(out.len(), encoded_len(text));
        out
    }

    #[test]
    fn the_derived_codes_are_those_of_appendix_b() {
        assert_eq!(CODES.to_vec(), appendix_b());
    }

    #[test]
    fn short_inputs_decode_as_bit_by_bit() {
        let plain = Plain::new();
        assert_eq!(decoded(b""), Ok(Vec::new()));
        for number in 0..=u16::MAX {
            let bytes = number.to_be_bytes();
            assert_eq!(decoded(&bytes[..1]), plain.decode(&bytes[..1]));
            assert_eq!(decoded(&bytes), plain.decode(&bytes), "{bytes:x?}");
        }
    }

    #[test]
    fn every_pair_of_symbols_returns() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let pair = [first, second];
                assert_eq!(decoded(&encoded(&pair)), Ok(pair.to_vec()), "{pair:x?}");
            }
        }
    }

    #[test]
    fn every_long_code_is_found_at_every_bit() {
        let plain = Plain::new();
        for symbol in 0..=u8::MAX {
            for shift in 0..16 {
                // `0` takes 5 bits and `&` 8: together any position within a byte.
                let mut text = vec![b'0'; shift];
                text.extend([symbol, b'&', symbol]);
                assert_eq!(plain.decode(&encoded(&text)), Ok(text.clone()));
                assert_eq!(decoded(&encoded(&text)), Ok(text));
            }
        }
    }

    /// Bytes of which most are ones: padding, EOS, and what comes close.
    fn ones() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![0xff, 0xfe, 0x7f, 0xf8]), 0..12)
    }

    fn config() -> ProptestConfig {
        ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn any_input_decodes_as_bit_by_bit(input in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(decoded(&input), Plain::new().decode(&input));
        }

        #[test]
        fn mostly_ones_decode_as_bit_by_bit(mut input in ones(), last: u8) {
            input.push(last);
            prop_assert_eq!(decoded(&input), Plain::new().decode(&input));
        }

        #[test]
        fn any_text_returns(text in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(decoded(&encoded(&text)), Ok(text));
        }
    }
}
