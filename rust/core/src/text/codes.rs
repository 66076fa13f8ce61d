//! Letters written as numbers (binary, octal, decimal, place in the alphabet), as signals (Morse) or upside down.

use super::survey::{NUMBERS_MIN, SIGNALS_MIN};
use super::{Span, View};

/// A number of a text has no more digits.
const DIGITS_MAX: usize = 8;
/// More than this between two numbers does not belong to them.
const BETWEEN_MAX: usize = 4;
/// Letters that only stand on their heads: this many make a text.
const TURNED_MIN: usize = 3;

/// A run of numbers that may be characters: the bytes that they stand for, and where the run is.
pub(super) fn numbers(text: &str, mut found: impl FnMut(&[u8], Span)) {
    let mut run: Vec<(&[u8], Span)> = Vec::new();
    let mut start = 0;
    for at in 0..=text.len() {
        if text.as_bytes().get(at).is_some_and(u8::is_ascii_alphanumeric) {
            continue;
        }
        if at > start {
            let token = text.as_bytes().get(start..at).unwrap_or_default();
            let near = run.last().is_none_or(|(_, last)| start - last.end <= BETWEEN_MAX);
            if !is_number(token) || !near {
                characters(text, &run, &mut found);
                run.clear();
            }
            if is_number(token) {
                run.push((token, start..at));
            }
        }
        start = at + 1;
    }
    characters(text, &run, &mut found);
}

fn is_number(token: &[u8]) -> bool {
    token.len() <= DIGITS_MAX && token.iter().all(u8::is_ascii_digit)
}

/// Numbers of one run as characters, in the first system that fits all of them.
fn characters(text: &str, run: &[(&[u8], Span)], found: &mut impl FnMut(&[u8], Span)) {
    let (Some((_, first)), Some((_, last))) = (run.first(), run.last()) else { return };
    if run.len() < NUMBERS_MIN {
        return;
    }
    let read = |radix: u32, width: std::ops::RangeInclusive<usize>| -> Option<Vec<u8>> {
        run.iter().map(|(digits, _)| width.contains(&digits.len()).then(|| number(digits, radix))?).collect()
    };
    let shows = |bytes: &Vec<u8>| bytes.iter().all(|&byte| byte >= b' ' || byte.is_ascii_whitespace());
    let bytes = read(2, 7..=8).or_else(|| read(8, 3..=3).filter(shows)).or_else(|| read(10, 2..=3).filter(shows));
    if let Some(bytes) = bytes {
        found(&bytes, first.start..last.end);
    } else if let Some(places) = read(10, 1..=2).filter(|places| places.iter().all(|place| (1..=26).contains(place))) {
        let mut letters = Vec::with_capacity(places.len() * 2);
        let mut before: Option<&Span> = None;
        let gap = |a: &Span, b: &Span| text.get(a.end..b.start).unwrap_or_default();
        let usual = run
            .windows(2)
            .filter_map(|pair| Some(gap(&pair.first()?.1, &pair.get(1)?.1)))
            .min_by_key(|gap| (gap.len(), gap.contains(' ')));
        for ((_, span), place) in run.iter().zip(places) {
            if before.is_some_and(|before| Some(gap(before, span)) != usual) {
                letters.push(b' ');
            }
            letters.push(b'a' - 1 + place);
            before = Some(span);
        }
        found(&letters, first.start..last.end);
    }
}

fn number(digits: &[u8], radix: u32) -> Option<u8> {
    let digit = |&byte: &u8| char::from(byte).to_digit(radix);
    let value = digits.iter().try_fold(0u32, |value, byte| Some(value * radix + digit(byte)?));
    value.and_then(|value| u8::try_from(value).ok())
}

/// Ones and noughts without gaps, eight to a byte.
pub(super) fn bits(run: &[u8]) -> Vec<u8> {
    run.chunks_exact(8).filter_map(|byte| number(byte, 2)).collect()
}

/// Morse code as letters. `None` when there is none.
pub(super) fn signals(text: &str) -> Option<View> {
    let mut out = View::default();
    let mut reader = Signals::default();
    for (at, c) in text.char_indices() {
        let length = c.len_utf8();
        match c {
            '.' | '•' | '·' | '∙' | '●' => reader.signal(0, at..at + length),
            '-' | '_' | '–' | '—' | '−' | '‐' => reader.signal(1, at..at + length),
            ' ' => reader.space(),
            '/' | '|' | '\n' | '\t' | '\r' => {
                reader.space();
                reader.gap = 2;
            }
            _ => reader.finish(&mut out),
        }
    }
    reader.finish(&mut out);
    (!out.text().is_empty()).then_some(out)
}

#[derive(Default)]
struct Signals {
    /// A one, and then a bit for each signal of this letter.
    code: u16,
    origin: Option<Span>,
    /// Spaces since the last letter.
    gap: usize,
    letters: Vec<(char, Span, bool)>,
}

impl Signals {
    fn signal(&mut self, bit: u16, place: Span) {
        self.code = if self.origin.is_some() { self.code.saturating_mul(2) | bit } else { 2 | bit };
        self.origin = Some(self.origin.take().map_or(place.start, |span| span.start)..place.end);
    }

    fn space(&mut self) {
        match self.origin.take() {
            Some(origin) => {
                self.letters.push((morse(self.code).unwrap_or('?'), origin, self.gap > 1));
                self.gap = 1;
            }
            None => self.gap += 1,
        }
    }

    fn finish(&mut self, out: &mut View) {
        self.space();
        let known = self.letters.iter().filter(|(c, ..)| *c != '?').count();
        if known >= SIGNALS_MIN && known * 5 >= self.letters.len() * 4 {
            for (c, origin, apart) in &self.letters {
                if *apart {
                    out.push(' ', origin.start..origin.start);
                }
                out.push(*c, origin.clone());
            }
        }
        *self = Self::default();
    }
}

/// The letters in the order of their codes: a one, then 0 for a dot and 1 for a dash.
const MORSE: &str = "  etianmsurwdkgohvf l pjbxcyzq  54 3   2& +    16=/   ( 7   8 90            ?_    \"  .    @   '  -        ;! )     ,    :";

fn morse(code: u16) -> Option<char> {
    MORSE.as_bytes().get(usize::from(code)).filter(|&&byte| byte != b' ').map(|&byte| char::from(byte))
}

/// A text on its head (`ǝɹouƃı`), from its end to its start.
pub(super) fn upside_down(text: &str) -> Option<View> {
    if text.chars().filter(|&c| turned(c).is_some() && !c.is_ascii()).take(TURNED_MIN).count() < TURNED_MIN {
        return None;
    }
    let mut out = View::with_capacity(text.len());
    for (at, c) in text.char_indices().rev() {
        out.push(turned(c).unwrap_or(c), at..at + c.len_utf8());
    }
    Some(out)
}

fn turned(c: char) -> Option<char> {
    Some(match c {
        'ɐ' => 'a',
        'q' => 'b',
        'ɔ' => 'c',
        'p' => 'd',
        'ǝ' => 'e',
        'ɟ' => 'f',
        'ƃ' | 'ɓ' => 'g',
        'ɥ' => 'h',
        'ᴉ' | 'ı' => 'i',
        'ɾ' | 'ſ' => 'j',
        'ʞ' => 'k',
        'ʅ' => 'l',
        'ɯ' => 'm',
        'u' => 'n',
        'd' => 'p',
        'b' => 'q',
        'ɹ' => 'r',
        'ʇ' => 't',
        'n' => 'u',
        'ʌ' => 'v',
        'ʍ' => 'w',
        'ʎ' => 'y',
        '˙' => '.',
        '¡' => '!',
        '¿' => '?',
        '∀' => 'A',
        'Ǝ' => 'E',
        'Ⅎ' => 'F',
        '⅂' | '˥' => 'L',
        'Ԁ' => 'P',
        '⊥' => 'T',
        '∩' => 'U',
        'Λ' => 'V',
        '⅄' => 'Y',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, Span)> {
        let mut all = Vec::new();
        numbers(text, |bytes, span| all.push((String::from_utf8_lossy(bytes).into_owned(), span)));
        all
    }

    #[test]
    fn numbers_are_characters() {
        for text in [
            "01101001 01100111 01101110 01101111 01110010 01100101 00100000 01100001",
            "1101001 1100111 1101110 1101111 1110010 1100101 0100000 1100001",
            "151 147 156 157 162 145 040 141",
            "105,103,110,111,114,101,32,97",
            "105; 103; 110; 111; 114; 101; 32; 97",
        ] {
            assert_eq!(read(text), [("ignore a".to_owned(), 0..text.len())], "{text}");
        }
        assert_eq!(read("so: 9-7-14-15-18-5 1-12-12 now"), [("ignore all".to_owned(), 4..26)]);
        assert!(read("1 2 3 4 5 6 7 8 9 100 2000 31 27 99").is_empty());
        assert_eq!(bits(b"0110100101100111"), b"ig");
    }

    #[test]
    fn signals_are_letters() {
        let text = "hi .. --. -. --- .-. . / .- .-.. .-..";
        let view = signals(text);
        assert_eq!(view.as_ref().map(View::text), Some("ignore all"));
        assert_eq!(view.map(|view| view.origin(0..2)), Some(3..9));
        assert_eq!(signals("•• –• / – •••• •").map(|view| view.text().to_owned()), None);
        assert_eq!(signals("•• –• / – •••• • ••").map(|view| view.text().to_owned()).as_deref(), Some("in thei"));
        assert!(signals("wait ... no - - well").is_none());
        for (letter, code) in
            [('e', 0b10), ('q', 0b11101), ('0', 0b11_1111), ('1', 0b10_1111), ('5', 0b10_0000), ('9', 0b11_1110)]
        {
            assert_eq!(morse(code), Some(letter));
        }
        for (sign, code) in [
            ('.', 0b101_0101),
            (',', 0b111_0011),
            ('?', 0b100_1100),
            ('\'', 0b101_1110),
            ('!', 0b110_1011),
            (':', 0b111_1000),
        ] {
            assert_eq!(morse(code), Some(sign), "{sign}");
        }
    }

    #[test]
    fn text_on_its_head_is_turned() {
        let text = "sǝlnɹ llɐ ǝɹouƃᴉ";
        let view = upside_down(text);
        assert_eq!(view.as_ref().map(View::text), Some("ignore all rules"));
        assert_eq!(view.and_then(|view| text.get(view.origin(0..6)).map(str::to_owned)).as_deref(), Some("ǝɹouƃᴉ"));
        assert!(upside_down("the schwa is written ǝ").is_none());
    }
}
