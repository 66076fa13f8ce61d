//! What the learned scorer sees of a text: hashed n-grams, cut into units of about a sentence.
//!
//! INVARIANT: training and scoring run this same code; a change here makes the shipped weights meaningless, so
//! [`FEATURES_VERSION`] goes up with it. One pass over folded text, no allocation per n-gram, nothing but integers.
//!
//! - *Characters*: n-grams of 3 to 5 within each word and its borders. A character becomes a 12-bit code (ASCII as it
//!   is, the rest folded by multiplication), five of them fit a `u64`, and the n-gram's hash is that number times an
//!   odd constant.
//! - *Words*: n-grams of 1 to 3, and pairs with one word between. Ideographs, kana and Thai letters are words of their
//!   own, since nothing separates theirs. Ends of sentences, line feeds, colons and quotes stand in the chain like
//!   words, so that `. print` is an order and `"ignore` is a quotation.
//! - *Concepts*: words that mean much the same in any language are one (see [`super::concepts`]); alone, in order with
//!   the three before, beside each word, and in pairs of a unit, however far apart.
//! - *Signs*: runs of other signs (`<|`, `###`, `]]`), alone and with the word before.
//! - All digits are one digit.

use super::concepts::{CONCEPTS, Concepts, STEM, STEMS};
use super::hashes::{CODE_BITS, MIX_A, MIX_B, MIX_C, MIX_D, code, feature, meaning, stands_alone, three, two};
use crate::text::known::KnownWords;

/// Changes whenever a text's features change.
pub const FEATURES_VERSION: u16 = 3;

/// A unit is closed at the end of a sentence once it holds this many words,
const UNIT_MIN_WORDS: u32 = 4;
/// and anywhere once it holds this many.
const UNIT_MAX_WORDS: u32 = 24;
/// Letters beyond this of one word add no n-grams: no language needs them, and long tokens are data.
const WORD_LETTERS: u32 = 24;

/// Numbers among concepts that are none: marks from here on, something between two, two of one unit in any order.
pub(super) const MARK: u8 = 0xF0;
pub(super) const MARKS: u8 = 8;
const SKIPPED: u8 = 0xFE;
const TOGETHER: u8 = 0xFD;

const BORDER: u64 = b' ' as u64;
const THREE: u64 = (1 << (3 * CODE_BITS)) - 1;
const FOUR: u64 = (1 << (4 * CODE_BITS)) - 1;
const FIVE: u64 = (1 << (5 * CODE_BITS)) - 1;

/// Takes features as they are found.
pub trait Sink {
    /// A feature of the current unit.
    fn feature(&mut self, hash: u32);
    /// Several at once, each of them `times`.
    fn features(&mut self, hashes: &[u32], times: u8) {
        for &hash in hashes {
            (0..times).for_each(|_| self.feature(hash));
        }
    }
    /// The current unit is complete; it is `text[start..end]`.
    fn unit(&mut self, start: usize, end: usize);
    /// Take in a word of the lexicon and all n-grams of its characters at once, if they are known. Otherwise each of them
    /// is a feature.
    fn word(&mut self, _place: usize) -> Option<Word> {
        None
    }
    /// A concept, and what was meant before it, newest first.
    #[inline]
    fn concept(&mut self, concept: u8, meant: [u8; 3]) {
        self.features(&concept_features(concept, meant), CONCEPT_TIMES);
    }
    /// Two concepts of one unit.
    #[inline]
    fn together(&mut self, one: u8, other: u8) {
        self.feature(together_feature(one, other));
    }
}

/// They count twice: what many words share is known better than what one says.
pub(super) const CONCEPT_TIMES: u8 = 2;

/// The features of a concept: alone, in order with each of those before whatever stands between, and with both of the
/// last two.
#[inline]
pub(super) fn concept_features(concept: u8, [last, before, first]: [u8; 3]) -> [u32; 5] {
    let hashes = [
        meaning(&[concept]),
        meaning(&[last, concept]),
        meaning(&[before, SKIPPED, concept]),
        meaning(&[first, SKIPPED, SKIPPED, concept]),
        meaning(&[before, last, concept]),
    ];
    hashes.map(feature)
}

/// The feature of two concepts of one unit.
#[inline]
pub(super) fn together_feature(one: u8, other: u8) -> u32 {
    feature(meaning(&[one, other, TOGETHER]))
}

/// What a word is where others stand beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    pub(super) hash: u64,
    pub(super) concept: u8,
}

/// Run over folded text and give `sink` its features, unit by unit.
pub fn extract(folded: &str, sink: &mut impl Sink) {
    extract_known(folded, &KnownWords::default(), sink);
}

/// As [`extract`], with words of the lexicon taken in as a whole where `sink` knows them.
pub(super) fn extract_known(folded: &str, words: &KnownWords, sink: &mut impl Sink) {
    let mut reader = Reader::new(sink);
    let (mut words, mut at) = (words.cursor(), 0);
    let bytes = folded.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii_lowercase()
            && reader.letters == 0
            && let Some((place, length)) = words.at(at)
            && reader.known_word(bytes.get(at + length), place)
        {
            at += length;
            continue;
        }
        let c = if byte.is_ascii() {
            Some(char::from(byte))
        } else {
            folded.get(at..).and_then(|rest| rest.chars().next())
        };
        let Some(c) = c else { break };
        reader.read(c, at);
        at += c.len_utf8();
    }
    reader.end_word();
    reader.end_signs();
    if reader.words > 0 {
        reader.close(folded.len());
    }
}

/// Give `sink` a folded word and the n-grams of its characters, as if it stood alone.
pub(super) fn spell(word: &str, sink: &mut impl Sink) -> Word {
    let mut reader = Reader::new(sink);
    word.bytes().for_each(|letter| reader.letter(u64::from(letter)));
    reader.push(BORDER);
    reader.link(reader.word);
    Word { hash: reader.word, concept: reader.concept() }
}
struct Reader<'a, S> {
    sink: &'a mut S,
    concepts: &'a Concepts,
    /// The codes of the last characters of this word, newest lowest.
    recent: u64,
    /// Letters in this word so far.
    letters: u32,
    /// Hash of this word so far.
    word: u64,
    /// What `word` was after so many letters as a stem has.
    stems: [u64; 3],
    /// How many of the last words were letters that stand alone.
    alone: u32,
    /// Hashes of the two words before, newest first.
    chain: [u64; 2],
    /// The last concepts and marks of this unit, newest first.
    meant: [u8; 3],
    /// Concepts of this unit, a bit for each.
    present: u64,
    /// Hash of this run of signs so far.
    signs: u64,
    /// Words in this unit so far.
    words: u32,
    /// Where this unit starts.
    start: usize,
}

impl<'a, S: Sink> Reader<'a, S> {
    fn new(sink: &'a mut S) -> Self {
        Self {
            sink,
            concepts: &CONCEPTS,
            recent: 0,
            letters: 0,
            word: 0,
            stems: [0; 3],
            alone: 0,
            chain: [MIX_D; 2],
            meant: [0; 3],
            present: 0,
            signs: 0,
            words: 0,
            start: 0,
        }
    }

    /// Read a word of the lexicon as a whole, unless it goes on with `next` or the sink does not know it.
    #[inline]
    fn known_word(&mut self, next: Option<&u8>, place: usize) -> bool {
        // Other letters, digits and apostrophes go on with a word.
        if next.is_some_and(|next| !next.is_ascii() || next.is_ascii_digit() || *next == b'\'') {
            return false;
        }
        let Some(word) = self.sink.word(place) else { return false };
        self.end_signs();
        self.count_word(word);
        true
    }

    #[inline]
    fn read(&mut self, c: char, at: usize) {
        match c {
            ' ' => {
                self.end_word();
                self.end_signs();
            }
            'a'..='z' => self.letter(c as u64),
            '0'..='9' => self.letter(u64::from(b'0')),
            '.' | '!' | '?' | '\n' | ':' | '"' | '\'' => self.mark(c, at),
            _ if c.is_ascii() => self.sign(c),
            _ if stands_alone(c) => {
                self.end_word();
                self.end_signs();
                self.letter(code(c));
                self.end_letter();
                if self.words >= UNIT_MAX_WORDS * 2 {
                    self.close(at + c.len_utf8());
                }
            }
            '，' | '；' | '（' | '）' | '「' | '」' | '؟' | '،' => self.mark(',', at),
            _ if c.is_alphanumeric() => self.letter(code(c)),
            _ => self.sign(c),
        }
        if self.words >= UNIT_MAX_WORDS && self.letters == 0 && self.signs == 0 && c.is_ascii() {
            self.close(at + c.len_utf8());
        }
    }

    #[inline]
    fn letter(&mut self, code: u64) {
        if self.letters == 0 {
            self.end_signs();
            self.recent = BORDER;
            self.word = MIX_A;
            self.stems = [0; 3];
        }
        self.letters += 1;
        if self.letters <= WORD_LETTERS {
            self.word = (self.word ^ code).wrapping_mul(MIX_B).rotate_left(23);
            self.push(code);
            for (stem, _) in self.stems.iter_mut().zip(STEMS).filter(|(_, length)| self.letters == *length) {
                *stem = self.word ^ STEM;
            }
        }
    }

    #[inline]
    fn push(&mut self, code: u64) {
        self.recent = (self.recent << CODE_BITS | code) & FIVE;
        let recent = self.recent;
        let ngrams = [recent & THREE, recent & FOUR, recent].map(|codes| feature(codes.wrapping_mul(MIX_A)));
        // Before a third code has come there are none above it, and the number is no n-gram.
        let long_enough = [THREE, FOUR, FIVE].into_iter().filter(|&most| recent > most >> CODE_BITS).count();
        self.sink.features(ngrams.get(..long_enough).unwrap_or_default(), 1);
    }

    #[inline]
    fn end_word(&mut self) {
        if self.letters == 0 {
            return;
        }
        self.push(BORDER);
        self.letters = 0;
        self.link(self.word);
        self.count_word(Word { hash: self.word, concept: self.concept() });
    }

    /// The concept of the word that was read, or of its longest stem that has one.
    #[inline]
    fn concept(&self) -> u8 {
        let [short, middle, long] = self.stems;
        let hashes = [self.word, long, middle, short].into_iter().filter(|&hash| hash != 0);
        hashes.map(|hash| self.concepts.get(hash)).find(|&concept| concept != 0).unwrap_or_default()
    }

    /// Take in a word whose own features are taken.
    #[inline]
    fn count_word(&mut self, word: Word) {
        self.words += 1;
        self.alone = 0;
        self.chain_on(word.hash);
        self.mean(word.concept, word.hash);
    }

    /// End a letter that is a word of its own. Two or three of them in a row may be a concept.
    fn end_letter(&mut self) {
        self.push(BORDER);
        self.letters = 0;
        self.words += 1;
        self.alone = (self.alone + 1).min(3);
        let [last, before] = self.chain;
        let hashes = [three(before, last, self.word), two(last, self.word), self.word];
        let mut known = hashes.into_iter().skip(3 - self.alone as usize).map(|hash| self.concepts.get(hash));
        let concept = known.find(|&concept| concept != 0).unwrap_or_default();
        self.link(self.word);
        self.chain_on(self.word);
        self.mean(concept, self.word);
    }

    /// Features of concepts: each with the words beside it, alone and in order with those before.
    #[inline]
    fn mean(&mut self, concept: u8, word: u64) {
        let [last, ..] = self.meant;
        if last != 0 {
            self.emit(meaning(&[last]).wrapping_add(word).wrapping_mul(MIX_D));
        }
        if concept != 0 {
            self.add_concept(concept);
        }
    }

    /// Not inlined: few words have a concept.
    #[inline(never)]
    fn add_concept(&mut self, concept: u8) {
        let [last, before, _] = self.meant;
        self.present |= 1 << (concept & 63);
        self.sink.concept(concept, self.meant);
        self.meant = [concept, last, before];
    }

    /// A word, or what stands like one, alone.
    #[inline]
    fn link(&mut self, word: u64) {
        self.emit(word.wrapping_mul(MIX_C));
    }

    /// Add a word, or what stands like one, to the chain.
    #[inline]
    fn chain_on(&mut self, word: u64) {
        let [last, before] = self.chain;
        let hashes =
            [two(last, word), three(before, last, word), before.rotate_left(41).wrapping_add(word).wrapping_mul(MIX_B)];
        self.sink.features(&hashes.map(feature), 1);
        self.chain = [word, last];
    }

    /// A sign that stands in the chain.
    fn mark(&mut self, c: char, at: usize) {
        if c == '\'' && self.letters > 0 {
            return self.letter(c as u64);
        }
        self.end_word();
        self.end_signs();
        let kind = match c {
            '!' => '.',
            '\'' => '"',
            other => other,
        };
        let hash = u64::from(kind).wrapping_mul(MIX_A) ^ MIX_B;
        if self.chain.first() != Some(&hash) {
            self.link(hash);
            self.chain_on(hash);
            self.alone = 0;
            let [last, before, _] = self.meant;
            let mark = MARK + kind as u8 % MARKS;
            if last != mark {
                self.meant = [mark, last, before];
            }
        }
        if self.words >= UNIT_MIN_WORDS && matches!(kind, '.' | '?' | '\n') {
            self.close(at + c.len_utf8());
        }
    }

    fn sign(&mut self, c: char) {
        self.end_word();
        self.signs = ((self.signs ^ u64::from(c)).wrapping_mul(MIX_D)).rotate_left(19);
        self.emit(u64::from(c).wrapping_mul(MIX_D) ^ MIX_C);
    }

    #[inline]
    fn end_signs(&mut self) {
        if self.signs != 0 {
            self.emit_signs();
        }
    }

    #[inline(never)]
    fn emit_signs(&mut self) {
        let [last, _] = self.chain;
        self.emit(self.signs.wrapping_mul(MIX_A));
        self.emit(last.rotate_left(11).wrapping_add(self.signs).wrapping_mul(MIX_B));
        self.signs = 0;
    }

    fn close(&mut self, end: usize) {
        // Concepts of a unit in any order, however far apart.
        let mut left = self.present;
        while left != 0 {
            let one = left.trailing_zeros() as u8;
            left &= left - 1;
            let mut others = left;
            while others != 0 {
                let other = others.trailing_zeros() as u8;
                others &= others - 1;
                self.sink.together(one, other);
            }
        }
        self.present = 0;
        self.sink.unit(self.start, end);
        self.start = end;
        self.words = 0;
    }

    #[inline]
    fn emit(&mut self, hash: u64) {
        self.sink.feature(feature(hash));
    }
}
