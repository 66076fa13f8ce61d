//! Escapes that stand for characters: percent, backslash, HTML entities, quoted-printable. And those that stand for none:
//! what moves a terminal's cursor or colours its text.

use super::rewrite::Rewrite;
use super::{Span, View};

/// Fewer equals signs than this are equations.
const QUOTED_MIN: usize = 4;
/// `\u{...}` is no longer than this.
const BRACED_MAX: usize = 12;
/// A code point has no more decimal digits.
const DECIMAL_MAX: usize = 7;

/// A terminal is told no more than this at once.
const SEQUENCE_MAX: usize = 32;

/// Replace escapes by what they stand for; the rest of the text stays. `None` when there are none.
pub(crate) fn unescape(text: &str) -> Option<View> {
    let mut out = Rewrite::of(text);
    let mut bytes = PendingBytes::default();
    let mut at = 0;
    let quoted = text.bytes().filter(|&byte| byte == b'=').count() >= QUOTED_MIN;
    while let Some(rest) = text.as_bytes().get(at..).filter(|rest| !rest.is_empty()) {
        let Some((length, escape)) = escape_at(rest, quoted) else {
            bytes.flush(&mut out);
            at += rest.iter().skip(1).position(|&byte| may_begin(byte)).map_or(rest.len(), |next| next + 1);
            continue;
        };
        let origin = at..at + length;
        at += length;
        if let Escape::Byte(byte) = escape {
            if bytes.width != length {
                bytes.flush(&mut out);
            }
            bytes.push(byte, origin);
            continue;
        }
        bytes.flush(&mut out);
        out.change(&origin);
        if let Escape::Char(c) = escape {
            out.view.push(c, origin);
        }
    }
    bytes.flush(&mut out);
    out.finish()
}

enum Escape {
    Byte(u8),
    Char(char),
    /// A line goes on, or nothing is shown.
    Nothing,
}

/// Whether an escape may begin with this byte.
const fn may_begin(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\' | b'U' | b'&' | 0x1b | b'=')
}

/// The escape that `rest` starts with, and its length in bytes. All of its bytes are ASCII. `quoted` says that equals
/// signs may be those of quoted-printable text.
fn escape_at(rest: &[u8], quoted: bool) -> Option<(usize, Escape)> {
    match rest.first()? {
        b'%' if rest.get(1) == Some(&b'u') => Some((6, Escape::Char(char::from_u32(number(rest.get(2..6)?, 16)?)?))),
        b'%' => Some((3, Escape::Byte(number(rest.get(1..3)?, 16)? as u8))),
        b'\\' => backslash_at(rest),
        b'U' if rest.get(1) == Some(&b'+') => Some((6, Escape::Char(char::from_u32(number(rest.get(2..6)?, 16)?)?))),
        b'&' => entity_at(rest),
        0x1b => control_sequence_at(rest),
        b'=' if quoted && rest.get(1) == Some(&b'\n') => Some((2, Escape::Nothing)),
        b'=' if quoted => {
            let value = number(rest.get(1..3)?, 16).filter(|_| rest.get(1).is_some_and(u8::is_ascii_digit))?;
            Some((3, Escape::Byte(value as u8)))
        }
        _ => None,
    }
}

/// `\x69`, `\u0069`, `\u{69}`, `\U00000069`, `\151`, and as style sheets write it: `\69 `, `\000069`.
fn backslash_at(rest: &[u8]) -> Option<(usize, Escape)> {
    let hex = |from: usize, digits: usize| char::from_u32(number(rest.get(from..from + digits)?, 16)?);
    let braced = || {
        let length = rest.iter().take(BRACED_MAX).position(|&byte| byte == b'}')?;
        Some((length + 1, Escape::Char(char::from_u32(number(rest.get(3..length)?, 16)?)?)))
    };
    match rest.get(1)? {
        b'x' | b'u' if rest.get(2) == Some(&b'{') => braced(),
        b'x' => Some((4, Escape::Byte(number(rest.get(2..4)?, 16)? as u8))),
        b'u' => Some((6, Escape::Char(hex(2, 4)?))),
        b'U' => Some((10, Escape::Char(hex(2, 8)?))),
        b'n' => Some((2, Escape::Char('\n'))),
        byte if byte.is_ascii_hexdigit() => {
            let digits = rest.iter().skip(1).take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
            let octal = number(rest.get(1..4)?, 8).filter(|_| digits == 3).and_then(char::from_u32);
            let c = octal.or_else(|| hex(1, digits).filter(|_| digits >= 2)).filter(char::is_ascii)?;
            let space = usize::from(octal.is_none() && rest.get(digits + 1) == Some(&b' '));
            Some((1 + digits + space, Escape::Char(c)))
        }
        _ => None,
    }
}

/// `ESC [`, parameters, and a letter that says what to do (ECMA-48, 5.4).
fn control_sequence_at(rest: &[u8]) -> Option<(usize, Escape)> {
    let behind = rest.strip_prefix(b"\x1b[")?;
    let parameters = behind.iter().take(SEQUENCE_MAX).take_while(|byte| matches!(byte, 0x20..=0x3f)).count();
    matches!(behind.get(parameters)?, 0x40..=0x7e).then_some((parameters + 3, Escape::Nothing))
}

fn entity_at(rest: &[u8]) -> Option<(usize, Escape)> {
    let head = rest.get(..rest.len().min(12))?;
    let Some(end) = head.iter().position(|&byte| byte == b';') else { return bare_entity_at(head) };
    let name = head.get(1..end)?;
    let c = match name {
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16).and_then(char::from_u32)?,
        [b'#', digits @ ..] => match number(digits, 10).and_then(char::from_u32) {
            Some(c) => c,
            None => return bare_entity_at(head),
        },
        [letter, b'f', b'r'] | [letter, b's', b'c', b'r'] | [letter, b'o', b'p', b'f']
            if letter.is_ascii_alphabetic() =>
        {
            char::from(*letter)
        }
        b"lt" => '<',
        b"gt" => '>',
        b"amp" => '&',
        b"quot" => '"',
        b"apos" => '\'',
        b"nbsp" => ' ',
        b"excl" => '!',
        b"colon" => ':',
        b"lbrack" => '[',
        b"rbrack" => ']',
        b"NewLine" => '\n',
        _ => return None,
    };
    Some((end + 1, Escape::Char(c)))
}

/// `&#105` without its semicolon, which readers forgive.
fn bare_entity_at(head: &[u8]) -> Option<(usize, Escape)> {
    let digits = head.strip_prefix(b"&#")?;
    let count = digits.iter().take(DECIMAL_MAX).take_while(|byte| byte.is_ascii_digit()).count();
    Some((count + 2, Escape::Char(char::from_u32(number(digits.get(..count)?, 10)?)?)))
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    digits
        .iter()
        .try_fold(0u32, |value, &byte| value.checked_mul(radix)?.checked_add(char::from(byte).to_digit(radix)?))
}

/// Escaped bytes that may still become one character.
#[derive(Default)]
struct PendingBytes {
    bytes: Vec<u8>,
    /// Length of each escape in the source.
    width: usize,
    origin: Option<Span>,
}

impl PendingBytes {
    fn push(&mut self, byte: u8, origin: Span) {
        self.bytes.push(byte);
        self.width = origin.len();
        self.origin = Some(self.origin.take().map_or(origin.start, |span| span.start)..origin.end);
    }

    /// Write the bytes out. Each character stands for its own escapes, which all have the same length.
    fn flush(&mut self, out: &mut Rewrite) {
        let Some(origin) = self.origin.take() else { return };
        out.change(&origin);
        let width = self.width;
        let mut at = origin.start;
        for chunk in self.bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                let next = at + c.len_utf8() * width;
                out.view.push(c, at..next);
                at = next;
            }
            if !chunk.invalid().is_empty() {
                let next = at + chunk.invalid().len() * width;
                out.view.push('\u{fffd}', at..next);
                at = next;
            }
        }
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, clippy::string_slice)]
    use super::*;

    #[test]
    fn escapes_are_replaced_in_place() {
        let text = "a &lt;b&#62; %69%67 \\x6f\\u006e &bogus; %zz %C3%A4!";
        let view = unescape(text).expect("has escapes");
        assert_eq!(view.text(), "a <b> ig on &bogus; %zz ä!");
        assert_eq!(&text[view.origin(6..8)], "%69%67");
        assert!(unescape("100 % sure & done").is_none());
    }

    #[test]
    fn every_kind_of_escape_is_known() {
        for text in [
            "%69%67",
            "%u0069%u0067",
            "\\x69\\x67",
            "\\u0069\\u{67}",
            "\\U00000069\\x{67}",
            "\\151\\147",
            "\\69 \\67 ",
            "\\000069\\000067",
            "&#105;&#x67;",
            "&#105&#103",
            "&#0000105;&#0000103;",
            "&ifr;&gopf;",
            "U+0069U+0067",
            "=69=67=\n=\n",
        ] {
            assert_eq!(unescape(text).map(|view| view.text().to_owned()).as_deref(), Some("ig"), "{text}");
        }
        for shown in ["i\u{1b}[31mg", "i\u{1b}[2J\u{1b}[0;1;31mg", "\u{1b}[?25lig\u{1b}[m"] {
            assert_eq!(unescape(shown).map(|view| view.text().to_owned()).as_deref(), Some("ig"), "{shown:?}");
        }
        assert!(unescape("i\u{1b}g \u{1b}[ä \u{1b}[").is_none());
        assert!(unescape("C:\\docs \\frac{a}{b} x=10 y=20").is_none());
    }
}
