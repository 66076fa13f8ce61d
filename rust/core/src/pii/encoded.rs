//! Whether it is worth looking for personal data in what a text holds in encoded form.
//!
//! Decoding costs more than all the rest, and most texts hold nothing encoded. This only asks, cheaply, whether some
//! run is long and mixed enough to be base64 or hex, or whether some escape stands for a letter, a digit or a sign.

use super::byte;
use super::secrets::Body;
use crate::text::View;
use crate::text::decode::decode_runs;
use crate::text::escapes::unescape;

/// Shorter runs hold no address and no secret.
const SHORTEST: usize = 20;

/// The decoded views of a text in which something may be found.
pub(super) fn views(text: &str) -> Vec<View> {
    let mut views = if has_run(text.as_bytes()) { decode_runs(text) } else { Vec::new() };
    if has_escape(text.as_bytes()) {
        views.extend(unescape(text));
    }
    views
}

/// Looks at the byte where a run of the shortest length would end, and goes back only from there.
fn has_run(bytes: &[u8]) -> bool {
    let (mut from, mut at) = (0, SHORTEST - 1);
    while let Some(window) = bytes.get(from..=at) {
        let run = window.iter().rev().take_while(|byte| is_encoding(**byte)).count();
        if run < window.len() {
            from = at + 1 - run;
            at = from + SHORTEST - 1;
            continue;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        at += rest.iter().take_while(|byte| is_encoding(**byte)).count();
        if bytes.get(from..at).is_some_and(is_mixed) {
            return true;
        }
        from = at;
        at = from + SHORTEST - 1;
    }
    false
}

const fn is_encoding(byte: u8) -> bool {
    Body::Token.accepts(byte) || matches!(byte, b'+' | b'/')
}

/// Both cases and perhaps digits, as in base64, or letters and digits of hex alone. Words and paths are neither.
fn is_mixed(run: &[u8]) -> bool {
    let count = |test: fn(&u8) -> bool| run.iter().filter(|byte| test(byte)).count();
    let (digits, upper, lower) =
        (count(u8::is_ascii_digit), count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    let signs = run.len() - digits - upper - lower;
    let base64 = upper >= 4 && lower >= 4 && signs * 8 <= run.len();
    let hex = digits * 4 >= run.len() && run.iter().all(u8::is_ascii_hexdigit);
    base64 || hex
}

fn has_escape(bytes: &[u8]) -> bool {
    memchr::memchr3_iter(b'%', b'&', b'\\', bytes).any(|at| {
        match (byte(bytes, at), byte(bytes, at + 1), byte(bytes, at + 2)) {
            (b'%', high @ b'2'..=b'7', low) if low.is_ascii_hexdigit() => {
                !(high == b'2' && matches!(low, b'0' | b'F' | b'f' | b'C' | b'c'))
            }
            (b'&', b'#', _) => true,
            (b'\\', b'u', b'0') => byte(bytes, at + 3) == b'0' && matches!(byte(bytes, at + 4), b'2'..=b'7'),
            (b'\\', b'x', b'2'..=b'7') => true,
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_encoded_is_decoded() {
        for text in [
            "see cGFzc3dvcmQ9aHVudGVyMlpxOSF4 ok",
            "ann%40example.com",
            "616e6e406578616d706c652e636f6d",
            "ann&#64;example.com",
        ] {
            assert!(!views(text).is_empty(), "{text}");
        }
        for text in [
            "internationalisation and/or localisation/of/the/documents",
            "https://example.com/a%20long%2Fpath/of-many-words",
            "100 % sure & \\n done",
            "a_long_identifier_of_many_words",
        ] {
            assert!(views(text).is_empty(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_run_is_missed(text in "[aB3 ]{0,80}") {
            let plain = text.split(' ').any(|run| run.len() >= SHORTEST && is_mixed(run.as_bytes()));
            proptest::prop_assert_eq!(has_run(text.as_bytes()), plain);
        }
    }
}
