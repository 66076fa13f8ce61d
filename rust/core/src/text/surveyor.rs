//! What a [`Survey`] comes from: counts of what stands in a text, as it is read from word to word.

use super::Span;
use super::lexicon::Lexicon;
use super::pairs::is_common;
use super::survey::{ENCODED_MIN, JOINED_LETTERS, NUMBERS_MIN, Reader, SIGNALS_MIN, SPACED_LETTERS, Survey};

/// Of so many words and one more, at least one is known in every language that the list has words of.
const KNOWN_SHARE: usize = 3;
/// Fewer words with digits among their letters than this are names of things (`h264`, `utf8`).
const LEET_WORDS: usize = 2;
/// What one find weighs where two must be near each other; every known word between takes one away.
const NEAR: usize = 3;
/// Unknown words weigh two, known ones take one away: a stretch of this weight is disturbed in a short text,
const DISTURBED: usize = 3;
/// and of this weight in a long one, where names and foreign words come together by chance.
const DISTURBED_LONG: usize = 10;
const LONG_TEXT: usize = 400;
/// So many more rare pairs of letters than common ones ask for another alphabet.
const ODD_PAIRS: usize = 6;
/// Words of the spelling alphabet.
const SPELT_WORDS: usize = 6;
/// Fewer signs between letters than this are spelling.
const CUT_WORDS: usize = 2;

/// Letters that stand alone are no word.
const WORD_MIN: usize = 2;

/// How many words a text has, and how many of them are known.
pub(super) struct Count<'a> {
    lexicon: &'a Lexicon,
    known: usize,
    unknown: usize,
    foreign: usize,
}

impl<'a> Count<'a> {
    pub(super) const fn new(lexicon: &'a Lexicon) -> Self {
        Self { lexicon, known: 0, unknown: 0, foreign: 0 }
    }

    /// Whether enough words are known ones for this to be a language, or are not in Latin letters.
    pub(super) const fn is_language(&self) -> bool {
        (self.known + self.foreign) * KNOWN_SHARE > self.unknown
    }

    /// Count a word of more than one letter, and say whether it is known.
    #[inline]
    fn is_known(&mut self, hash: u64) -> bool {
        let known = self.lexicon.may_know(hash);
        *(if known { &mut self.known } else { &mut self.unknown }) += 1;
        known
    }
}

impl Reader for Count<'_> {
    #[inline]
    fn known_word(&mut self, word: &[u8], _place: usize) {
        self.known += usize::from(word.len() >= WORD_MIN);
    }

    #[inline]
    fn word(&mut self, word: &[u8], _start: usize, hash: u64) {
        if word.len() >= WORD_MIN {
            self.is_known(hash);
        }
    }

    fn foreign_word(&mut self) {
        self.foreign += 1;
    }
}

/// What stands between two letters so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joint {
    None,
    Sign,
    Quote,
    /// A quote and a sign that joins texts.
    Concatenation,
}

/// Reads a text, and remembers what its [`Survey`] says.
pub(super) struct Surveyor<'a> {
    lexicon: &'a Lexicon,
    count: Count<'a>,
    seen: Survey,
    /// Weight at which a stretch is disturbed.
    threshold: usize,
    /// Weight of the unknown words of this stretch, and where it starts.
    unknown: usize,
    unknown_start: usize,
    mirrored: usize,
    mirrored_start: usize,
    spelt: usize,
    leet: usize,
    cuts: usize,
    joints: usize,
    joint: Joint,
    /// Letters that stand alone, in a row.
    alone: usize,
    /// Numbers in a row, and groups of dots and dashes.
    numbers: usize,
    signals: usize,
    /// Rare pairs of this stretch beyond what a language has, where it starts, and the most there were.
    odd: usize,
    odd_start: usize,
    oddest: usize,
    /// Where this run of letters, digits and the signs of base64 starts.
    run_start: usize,
    /// What stands between this space and the last, and between this sign and the last.
    token: Token,
    group: Token,
    /// Signs and digits, and everything but spaces.
    signs: usize,
    shown: usize,
}

/// What a stretch of text holds, a bit for each.
type Token = u8;
const WORDS: Token = 1;
const DIGITS: Token = 2;
/// Letters that are hexadecimal digits.
const HEX: Token = 4;
const DOTS: Token = 8;
const OTHER: Token = 16;

impl<'a> Surveyor<'a> {
    pub(super) fn new(lexicon: &'a Lexicon, bytes: usize) -> Self {
        let threshold = if bytes < LONG_TEXT { DISTURBED } else { DISTURBED_LONG };
        Self {
            lexicon,
            count: Count::new(lexicon),
            seen: Survey::default(),
            threshold,
            unknown: 0,
            unknown_start: 0,
            mirrored: 0,
            mirrored_start: 0,
            spelt: 0,
            leet: 0,
            cuts: 0,
            joints: 0,
            joint: Joint::None,
            alone: 0,
            numbers: 0,
            signals: 0,
            odd: 0,
            odd_start: 0,
            oddest: ODD_PAIRS - 1,
            run_start: 0,
            token: 0,
            group: 0,
            signs: 0,
            shown: 0,
        }
    }

    /// What any letters do. Says whether they are more than one.
    #[inline]
    fn shows(&mut self, word: &[u8]) -> bool {
        self.joint = Joint::Sign;
        self.shown += word.len();
        if word.len() <= 2 && word.iter().all(|letter| matches!(letter, b'a'..=b'f' | b'x' | b'u')) {
            self.group |= HEX;
        } else {
            self.group |= WORDS;
        }
        if word.len() < WORD_MIN {
            self.alone += 1;
            self.seen.spaced |= self.alone >= SPACED_LETTERS;
            return false;
        }
        self.alone = 0;
        true
    }

    #[inline]
    fn known(&mut self, length: usize) {
        // Mostly there is nothing to be taken from.
        if self.unknown | self.odd | self.mirrored | self.cuts != 0 {
            self.unknown = self.unknown.saturating_sub(1);
            self.odd = self.odd.saturating_sub(length);
            self.mirrored = self.mirrored.saturating_sub(1);
            self.cuts = self.cuts.saturating_sub(1);
        }
    }

    #[inline]
    fn spells(&mut self, is_of_the_alphabet: bool) {
        if is_of_the_alphabet {
            self.spelt += 1;
            self.seen.spelt |= self.spelt >= SPELT_WORDS;
        }
    }

    #[inline(never)]
    fn unknown_word(&mut self, word: &[u8], start: usize) {
        let end = start + word.len();
        if self.unknown == 0 {
            self.unknown_start = start;
        }
        self.unknown += 2;
        if self.unknown >= self.threshold {
            widen(&mut self.seen.disturbed, self.unknown_start, end);
        }
        self.seen.long |= word.len() >= JOINED_LETTERS;
        let (mut plain, mut mirrored) = (0, 0);
        for (&a, &b) in word.iter().zip(word.iter().skip(1)) {
            plain += usize::from(is_common(a, b));
            mirrored += usize::from(is_common(b, a));
        }
        if mirrored >= plain + 2 || self.lexicon.knows_mirrored(word) {
            if self.mirrored == 0 {
                self.mirrored_start = start;
            }
            self.mirrored += NEAR;
            if self.mirrored > NEAR + 1 {
                widen(&mut self.seen.mirrored, self.mirrored_start, end);
            }
        }
        if self.odd == 0 {
            self.odd_start = start;
        }
        self.odd = (self.odd + word.len() - 1).saturating_sub(2 * plain);
        if self.odd > self.oddest {
            self.oddest = self.odd;
            self.seen.odd = Some(self.odd_start..end);
        }
    }

    #[inline]
    fn end_run(&mut self, at: usize) {
        self.seen.run |= at - self.run_start >= ENCODED_MIN;
        self.run_start = at + 1;
    }

    #[inline]
    fn end_group(&mut self) {
        let group = std::mem::take(&mut self.group);
        if group & WORDS != 0 {
            self.token |= WORDS;
            self.numbers = 0;
        } else if group != 0 {
            self.token |= group & HEX;
            self.numbers += 1;
            self.seen.numbers |= self.numbers >= NUMBERS_MIN;
        }
    }

    #[inline]
    fn end_token(&mut self) {
        let token = std::mem::take(&mut self.token);
        self.leet += usize::from(token & (WORDS | HEX) != 0 && token & DIGITS != 0);
        if token == DOTS {
            self.signals += 1;
            self.seen.signals |= self.signals >= SIGNALS_MIN;
        } else if token & (WORDS | DIGITS | HEX) != 0 {
            self.signals = 0;
        }
    }

    pub(super) fn finish(self) -> Survey {
        Survey {
            leet: self.leet >= LEET_WORDS,
            words: self.count.is_language(),
            noise: self.signs * 4 >= self.shown && self.shown > ENCODED_MIN,
            ..self.seen
        }
    }
}

impl Reader for Surveyor<'_> {
    fn join(&mut self) {
        if matches!(self.joint, Joint::Sign | Joint::Concatenation) {
            self.cuts += NEAR;
            self.joints += 1;
            self.seen.cut |= if self.threshold == DISTURBED { self.joints >= CUT_WORDS } else { self.cuts >= 2 * NEAR };
        }
    }

    fn foreign_word(&mut self) {
        self.count.foreign_word();
        self.joint = Joint::None;
    }

    fn letters(&mut self, span: Span) {
        if span.len() >= JOINED_LETTERS {
            self.seen.joined.push(span);
        }
    }

    #[inline]
    fn known_word(&mut self, word: &[u8], place: usize) {
        self.count.known_word(word, place);
        if self.shows(word) {
            self.known(word.len());
            self.spells(word.len() >= 4 && self.lexicon.spells(place));
        }
    }

    fn word(&mut self, word: &[u8], start: usize, hash: u64) {
        if !self.shows(word) {
            return;
        }
        if self.count.is_known(hash) {
            self.known(word.len());
        } else {
            self.unknown_word(word, start);
        }
        self.spells(word.len() >= 4 && self.lexicon.may_spell(hash));
    }

    /// Not inlined: everything that is counted would be moved between registers and the stack at each byte.
    #[inline(never)]
    fn space(&mut self, byte: u8, at: usize) {
        self.end_run(at);
        self.end_group();
        self.end_token();
        self.joint = match self.joint {
            Joint::Sign if byte == b'\n' => Joint::Sign,
            Joint::None | Joint::Sign => Joint::None,
            quoted => quoted,
        };
    }

    /// Not inlined either.
    #[inline(never)]
    fn other(&mut self, byte: u8, at: usize) {
        if !matches!(byte, b'0'..=b'9' | b'+' | b'/' | b'-' | b'_') {
            self.end_run(at);
        }
        if byte.is_ascii_digit() {
            self.group |= DIGITS;
            self.token |= DIGITS;
            self.signs += 1;
            self.shown += 1;
            self.joint = Joint::None;
            return;
        }
        self.end_group();
        self.shown += 1;
        self.joint = match (self.joint, byte) {
            (Joint::Quote, b'+' | b'.' | b'&' | b'|') => Joint::Concatenation,
            // A list of texts is data, unless they are single letters.
            (Joint::Quote, b',') if self.alone > 0 => Joint::Concatenation,
            (Joint::Sign, b'"' | b'\'') => Joint::Quote,
            (joint, _) => joint,
        };
        match byte {
            b'.' | b'-' => self.token |= DOTS,
            b'@' | b'$' | b'|' | b'\\' | b'+' | b'!' => self.token |= DIGITS,
            _ if byte < 0x80 => self.token |= OTHER,
            _ => self.token &= !OTHER,
        }
        self.seen.escapes |= matches!(byte, b'%' | b'&' | b'\\' | b'=' | 0x1b);
        self.signs +=
            usize::from(byte.is_ascii() && !matches!(byte, b'.' | b',' | b'\'' | b'"' | b'-' | b'!' | b'(' | b')'));
    }
}

fn widen(span: &mut Option<Span>, start: usize, end: usize) {
    *span = Some(span.take().map_or(start, |span| span.start.min(start))..end);
}
