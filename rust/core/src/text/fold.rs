//! The plain reading of a text: one spelling for everything that reads the same.
//!
//! Compatibility forms (NFKC), case, accents, look-alikes, invisible characters and white space are levelled. A run
//! of white space becomes one space, or one line feed if it holds one, since fake turns start on a new line.
//! Accents go because they are decoration to a reader (`ígnore`), and because patterns need one spelling.

use unicode_normalization::char::{compose, decompose_compatible};

use super::confusables::{enclosed, is_decoration, is_invisible, skeleton, tag};
use super::{Span, View};

/// Bytes that are looked at together.
const CHUNK: usize = 16;

/// Fold a text for matching.
#[must_use]
pub fn fold(text: &str) -> View {
    let mut folder = Folder { out: View::with_capacity(text.len()), pending: None, gap: None };
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        // Most text is this, and goes over a stretch at a time.
        let plain = plain_run(rest.as_bytes(), folder.gap.is_some());
        if let Some(stretch) = rest.get(..plain).filter(|stretch| !stretch.is_empty()) {
            folder.flush();
            folder.out.push_lowered(stretch, at);
            at += plain;
        }
        let Some(c) = rest.get(plain..).and_then(|rest| rest.chars().next()) else { break };
        folder.read(c, at..at + c.len_utf8());
        at += c.len_utf8();
    }
    folder.flush();
    folder.out
}

/// How many bytes from the first on folding only lowers, given whether white space comes before them. White space
/// that more of it may follow is left for the [`Folder`].
fn plain_run(bytes: &[u8], mut after_space: bool) -> usize {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..) {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before..)?.first_chunk());
        if let Some(chunk) = rest.first_chunk().filter(|chunk| is_plain_chunk(chunk, before, after_space)) {
            after_space = chunk.last().is_some_and(|&byte| is_space(byte));
            at += CHUNK;
            continue;
        }
        for &byte in rest.iter().take(CHUNK) {
            let space = is_space(byte);
            if !is_plain(byte) || space && after_space {
                let left = usize::from(after_space && at > 0);
                return at - left;
            }
            after_space = space;
            at += 1;
        }
        if rest.len() <= CHUNK {
            return at;
        }
    }
    at
}

/// Whether [`plain_run`] goes through all of a chunk; without a branch, so that it is one for all of its bytes. `before`
/// is what stands one byte before each of them, if there is a byte before the first.
fn is_plain_chunk(chunk: &[u8; CHUNK], before: Option<&[u8; CHUNK]>, after_space: bool) -> bool {
    let before = before.copied().unwrap_or_else(|| {
        let mut before = [if after_space { b' ' } else { 0 }; CHUNK];
        before.iter_mut().skip(1).zip(chunk).for_each(|(before, &byte)| *before = byte);
        before
    });
    let odd = |byte: u8, before: u8| !is_plain(byte) | (is_space(byte) & is_space(before));
    !chunk.iter().zip(&before).fold(false, |any, (&byte, &before)| any | odd(byte, before))
}

/// Whether a byte is a character that folding only lowers, alone.
fn is_plain(byte: u8) -> bool {
    (byte < 0x80) & (byte != b'`') & (byte != b'\t') & (byte != 0x0C) & (byte != b'\r')
}

/// White space that may stand for itself.
fn is_space(byte: u8) -> bool {
    (byte == b' ') | (byte == b'\n')
}

/// Fold a pattern's own words, so that they are spelt as the texts are.
#[must_use]
pub fn fold_words(words: &str) -> String {
    fold(words).text
}

/// Level widths and decimal digits, and drop what shows nothing; leave case, letters and white space as they are.
///
/// This is the view in which personal data is looked for a second time. `None` when it would equal the text.
#[must_use]
pub fn narrow(text: &str) -> Option<View> {
    if text.is_ascii() || !text.chars().any(|c| !c.is_ascii() && narrow_char(c) != Some(c)) {
        return None;
    }
    let mut out = View::with_capacity(text.len());
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let same = rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
        if let Some(stretch) = rest.get(..same).filter(|stretch| !stretch.is_empty()) {
            out.push_copied(stretch, at);
            at += same;
        }
        let Some(c) = rest.get(same..).and_then(|rest| rest.chars().next()) else { break };
        if let Some(to) = narrow_char(c) {
            out.push(to, at..at + c.len_utf8());
        }
        at += c.len_utf8();
    }
    Some(out)
}

fn narrow_char(c: char) -> Option<char> {
    match u32::from(c) {
        0..=0x7F => Some(c),
        // What holds a number together must not be invisible to the one who looks for it.
        0x2010..=0x2015 | 0x2212 | 0xFE58 | 0xFE63 => Some('-'),
        0xA0 | 0x2000..=0x200A | 0x202F | 0x205F | 0x3000 => Some(' '),
        code @ 0xFF01..=0xFF5E => char::from_u32(code - 0xFEE0),
        code @ 0x660..=0x669 => char::from_digit(code - 0x660, 10),
        code @ 0x6F0..=0x6F9 => char::from_digit(code - 0x6F0, 10),
        code @ 0x966..=0x96F => char::from_digit(code - 0x966, 10),
        code @ 0x1D7CE..=0x1D7FF => char::from_digit((code - 0x1D7CE) % 10, 10),
        _ if is_invisible(c) => None,
        _ => Some(c),
    }
}

struct Folder {
    out: View,
    /// The last character, until it is known that nothing composes with it (jamo, voiced kana).
    pending: Option<(char, Span)>,
    /// White space since the last character, and whether it holds a line feed.
    gap: Option<(Span, bool)>,
}

impl Folder {
    fn read(&mut self, c: char, origin: Span) {
        if c.is_ascii() && !c.is_ascii_whitespace() {
            let c = if c == '`' { '\'' } else { c.to_ascii_lowercase() };
            self.write(c, origin);
        } else if c.is_whitespace() {
            self.widen_gap(c == '\n' || c == '\r' || c == '\u{2028}' || c == '\u{2029}', origin);
        } else if let Some(shown) = tag(c).or_else(|| enclosed(c)) {
            self.read(shown, origin);
        } else if !is_invisible(c) {
            decompose_compatible(c, |part| self.read_part(part, origin.clone()));
        }
    }

    fn read_part(&mut self, part: char, origin: Span) {
        if is_decoration(part) || is_invisible(part) {
            return;
        }
        if part.is_whitespace() {
            return self.widen_gap(false, origin);
        }
        if let Some(shown) = skeleton(part) {
            return shown.chars().for_each(|c| self.write(c, origin.clone()));
        }
        for lower in part.to_lowercase() {
            if !is_decoration(lower) {
                self.join(lower, origin.clone());
            }
        }
    }

    fn widen_gap(&mut self, line: bool, origin: Span) {
        let (start, was_line) = self.gap.take().map_or((origin.start, false), |(span, line)| (span.start, line));
        self.gap = Some((start..origin.end, was_line || line));
    }

    /// Write a character that may compose with the one before it.
    fn join(&mut self, c: char, origin: Span) {
        if let (None, Some((before, span))) = (&self.gap, &self.pending)
            && let Some(both) = compose(*before, c)
        {
            self.pending = Some((both, span.start..origin.end));
            return;
        }
        self.flush();
        self.pending = Some((c, origin));
    }

    fn write(&mut self, c: char, origin: Span) {
        self.flush();
        self.out.push(c, origin);
    }

    fn flush(&mut self) {
        if let Some((c, span)) = self.pending.take() {
            self.out.push(c, span);
        }
        if let Some((span, line)) = self.gap.take() {
            self.out.push(if line { '\n' } else { ' ' }, span);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_what_reads_the_same() {
        for text in [
            "Ignore previous",
            "ＩＧＮＯＲＥ　previous",
            "іgnоrе рrеvіоus",
            "i\u{200b}gn\u{ad}ore\n previous".trim(),
            "ígnöre prévious",
            "𝐈𝐠𝐧𝐨𝐫𝐞 𝓹𝓻𝓮𝓿𝓲𝓸𝓾𝓼",
            "🅘🅖🅝🅞🅡🅔 previous",
        ] {
            assert_eq!(fold(text).text().replace('\n', " "), "ignore previous", "{text}");
        }
    }

    /// The plain twin of [`fold`]: one character at a time.
    fn fold_slowly(text: &str) -> View {
        let mut folder = Folder { out: View::default(), pending: None, gap: None };
        text.char_indices().for_each(|(start, c)| folder.read(c, start..start + c.len_utf8()));
        folder.flush();
        folder.out
    }

    proptest::proptest! {
        #[test]
        fn stretches_at_a_time_are_characters_at_a_time(
            text in "(([a-cA-C.] ?\n?){0,40}[a-cA-C \n\r\t\u{b}\u{c}`é\u{301}가ｶﾞ\u{200b}ﬁ𝐈.]{0,4}){0,4}",
        ) {
            let (fast, slow) = (fold(&text), fold_slowly(&text));
            proptest::prop_assert_eq!(fast.text(), slow.text());
            for end in 1..=fast.text().len() {
                proptest::prop_assert_eq!(fast.origin(end - 1..end), slow.origin(end - 1..end));
            }
        }
    }

    #[test]
    fn tag_characters_show_their_text() {
        let hidden: String = "ignore".chars().filter_map(|c| char::from_u32(u32::from(c) + 0xE0000)).collect();
        assert_eq!(fold(&format!("hi {hidden}")).text(), "hi ignore");
    }

    #[test]
    fn scripts_that_compose_stay_whole() {
        assert_eq!(fold("이전의 ガイド ｶﾞイド").text(), "이전의 ガイド ガイド");
        assert_eq!(fold("\u{1112}\u{1161}\u{11ab}").text(), "한");
    }

    #[test]
    fn spans_lead_back_to_the_characters_they_came_from() {
        let text = "ä ﬁx \u{200b}１２  ok";
        let view = fold(text);
        assert_eq!(view.text(), "a fix 12 ok");
        assert_eq!(text.get(view.origin(2..5)), Some("ﬁx"));
        assert_eq!(text.get(view.origin(6..8)), Some("１２"));
        assert_eq!(text.get(view.origin(9..11)), Some("ok"));
        assert_eq!(fold("one run only").origin(4..7), 4..7);
    }

    #[test]
    fn narrow_levels_digits_of_every_script() {
        let view = narrow("٤۵५ １\u{200b}𝟗–x").map(|view| view.text().to_owned());
        assert_eq!(view.as_deref(), Some("455 19-x"));
        assert!(narrow("plain 12").is_none());
        assert!(narrow("naïve 忽").is_none());
    }

    proptest::proptest! {
        #[test]
        fn narrow_is_every_character_alone(text in "([a ]{0,3}[é１\u{200b}\u{2011}٤]{0,2}){0,6}") {
            let mut slow = View::default();
            for (start, c) in text.char_indices() {
                narrow_char(c).into_iter().for_each(|to| slow.push(to, start..start + c.len_utf8()));
            }
            proptest::prop_assert_eq!(narrow(&text).is_some(), slow.text() != text);
            let fast = narrow(&text).unwrap_or_else(|| slow.clone());
            proptest::prop_assert_eq!(fast.text(), slow.text());
            for end in 1..=slow.text().len() {
                proptest::prop_assert_eq!(fast.origin(end - 1..end), slow.origin(end - 1..end));
            }
        }
    }
}
