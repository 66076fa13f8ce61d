//! E-mail addresses, read outwards from the `@`, or from what stands for it (`(at)`, `[at]`).

use super::{Found, Kind, byte, byte_before};
use crate::finding::Category;
use crate::text::Span;

const EMAIL: Kind = Kind::new("pii.email", Category::Email, 12, 6);
/// What stands before the `@` is no longer.
const LONGEST_LOCAL: usize = 64;
const LONGEST_LABEL: usize = 63;
const MOST_LABELS: usize = 8;
/// Ends of file names, which are no domains: `icon@2x.png`.
const FILES: &[&str] =
    &["png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "html", "json", "tgz", "whl", "exe", "dll"];

/// What addresses mostly end with.
const TOP_LEVELS: &[&str] = &[
    "com", "org", "net", "edu", "gov", "info", "io", "ai", "dev", "app", "co", "uk", "de", "fr", "es", "nl", "be",
    "ch", "at", "eu", "pl", "se", "dk", "fi", "ru", "cn", "jp", "br", "ca", "au", "us", "biz", "test", "example",
];

/// Every address in a text.
pub(super) fn find(text: &str, found: &mut Vec<Found>) {
    for at in memchr::memchr_iter(b'@', text.as_bytes()) {
        found.extend(around(text, at, at + 1).map(|span| (span, EMAIL)));
    }
}

/// The address whose `@` may be what is written at `sign`, perhaps with blanks around it.
pub(super) fn spelled_out(text: &str, sign: Span) -> Option<Found> {
    let bytes = text.as_bytes();
    let left = sign.start - usize::from(byte_before(bytes, sign.start, 1) == b' ');
    let right = sign.end + usize::from(byte(bytes, sign.end) == b' ');
    let span = around(text, left, right)?;
    // `look (at) it.now` is no address.
    let written = text.get(span.clone())?;
    let top_level = written.rsplit(['.', ' ', ']', ')', '}']).next()?;
    let usual = right - left == sign.len() || TOP_LEVELS.iter().any(|usual| top_level.eq_ignore_ascii_case(usual));
    usual.then_some((span, EMAIL))
}

fn around(text: &str, left: usize, right: usize) -> Option<Span> {
    // What is rejected at a glance: most `@` open a handle or belong to a package.
    let bytes = text.as_bytes();
    let next = byte(bytes, right);
    if !(next.is_ascii_alphanumeric() || next >= 0x80) {
        return None;
    }
    let end = domain(text, right)?;
    let start = local(text, left)?;
    // `git@host:path` is where a repository is.
    let remote = text.get(start..left) == Some("git") && byte(bytes, end) == b':';
    (!remote).then_some(start..end)
}

/// Where the part before the `@` begins.
fn local(text: &str, left: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    if byte_before(bytes, left, 1) == b'"' {
        let from = left.saturating_sub(LONGEST_LOCAL);
        let quoted = bytes.get(from..left - 1)?;
        let open = from + quoted.iter().rposition(|byte| matches!(byte, b'"' | b'\n'))?;
        let inside = bytes.get(open + 1..left - 1)?;
        let fits = byte(bytes, open) == b'"' && inside.iter().any(u8::is_ascii_alphanumeric) && !inside.contains(&b':');
        return (fits && !byte_before(bytes, open, 1).is_ascii_alphanumeric()).then_some(open);
    }
    let head = text.get(crate::text::align(text, left.saturating_sub(LONGEST_LOCAL + 1)..left))?;
    let mut start = left;
    let own_script = head.chars().next_back().is_some_and(is_dense);
    for c in head.chars().rev() {
        if !is_local(c, own_script) {
            break;
        }
        start -= c.len_utf8();
    }
    if left - start > LONGEST_LOCAL {
        return None;
    }
    if byte_before(bytes, start, 1) == b'\\' && matches!(byte(bytes, start), b'n' | b'r' | b't') {
        start += 1; // an escape, written out
    }
    // An address in quotes does not begin with them, though the grammar allows it.
    while start < left && b"'!#$%&*^~-.+".contains(&byte(bytes, start)) {
        start += 1;
    }
    let lone = byte(bytes, left.wrapping_sub(1)) == b'.';
    (start < left && !lone).then_some(start)
}

/// Less than the grammar allows: braces, `=`, `/`, `?` and `|` stand around addresses more often than in them.
fn is_local(c: char, own_script: bool) -> bool {
    match c {
        _ if c.is_ascii_alphanumeric() => true,
        '!' | '#'..='\'' | '*' | '+' | '-' | '.' | '^' | '_' | '~' => true,
        _ if c.is_ascii() => false,
        _ => c.is_alphanumeric() && (own_script || !is_dense(c)),
    }
}

/// Letters of scripts that put no blanks between words: next to an address they are not part of it.
fn is_dense(c: char) -> bool {
    u32::from(c) >= 0xE00 && c.is_alphanumeric()
}

/// Where the domain that begins at `right` ends.
fn domain(text: &str, right: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let own_script = text.get(right..)?.chars().next().is_some_and(is_dense);
    let (mut at, mut end, mut labels) = (right, None, 0);
    while labels < MOST_LABELS {
        let stop = label(text, at, own_script);
        let written = text.get(at..stop)?.trim_end_matches('-');
        if written.is_empty() || written.len() > LONGEST_LABEL || written.starts_with('-') {
            break;
        }
        if labels > 0 && is_top_level(written) {
            end = Some(at + written.len());
        } else if labels > 0 {
            end = None;
        }
        labels += 1;
        let next = dot(bytes, stop);
        if next == stop {
            break;
        }
        at = next;
    }
    end
}

/// Where a label ends; no further than one byte more than a label may have.
fn label(text: &str, at: usize, own_script: bool) -> usize {
    let mut stop = at;
    for c in text.get(at..).unwrap_or_default().chars() {
        let fits = c.is_ascii_alphanumeric()
            || c == '-'
            || !c.is_ascii() && c.is_alphanumeric() && (own_script || !is_dense(c));
        if !fits || stop - at > LONGEST_LABEL {
            break;
        }
        stop += c.len_utf8();
    }
    stop
}

/// What follows the dot at `at`, or the word for one; `at` itself if there is none.
fn dot(bytes: &[u8], at: usize) -> usize {
    if byte(bytes, at) == b'.' {
        return at + 1;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let word = [" dot ", " [dot] ", "[dot]", " (dot) ", "(dot)", " {dot} ", "{dot}", "[.]"]
        .iter()
        .find(|word| rest.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes())));
    at + word.map_or(0, |word| word.len())
}

fn is_top_level(label: &str) -> bool {
    if let Some(code) = label.strip_prefix("xn--") {
        return code.len() >= 2;
    }
    let letters = label.chars().all(char::is_alphabetic) && label.chars().nth(1).is_some();
    letters && label.len() <= 24 && !FILES.iter().any(|file| label.eq_ignore_ascii_case(file))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::string_slice)]
    use super::*;

    fn finds(text: &str) -> Vec<&str> {
        let mut found = Vec::new();
        find(text, &mut found);
        found.into_iter().map(|(span, _)| &text[span]).collect()
    }

    #[test]
    fn addresses_begin_and_end_where_they_do() {
        for address in [
            "ann.lee+x@mail.example.co.uk",
            "jürgen@bücher.de",
            "иван@почта.рф",
            "用户@例子.公司",
            "o'neil@example.org",
            "a_b-c@x1.example.museum",
            "\"ann lee\"@example.com",
            "ann@xn--bcher-kva.xn--p1ai",
        ] {
            for frame in [
                "mail '{}'.",
                "<{}>",
                "mailto:{}?subject=x",
                "({}),",
                "\u{201c}{}\u{201d}",
                "x {}",
                "{{}}",
                "|{}|",
                "to={};",
            ] {
                let text = frame.replace("{}", address);
                assert_eq!(finds(&text), [address], "{text}");
            }
        }
        assert_eq!(finds("邮箱ann@example.com谢谢"), ["ann@example.com"]);
        assert_eq!(finds("line\\nann@example.com\\n"), ["ann@example.com"]);
        assert_eq!(finds("ann@example.com.Thanks"), ["ann@example.com.Thanks"]);
    }

    #[test]
    fn other_uses_of_the_sign_are_none() {
        for text in [
            "@mention user@host a@b",
            "npm@10.2.1",
            "icon@2x.png",
            "git@github.com:org/repo",
            "a @ b.com",
            "@types/node",
            "x@.com",
            ".@a.b",
        ] {
            assert!(finds(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn signs_may_be_spelled_out() {
        let spelled = |text: &str, sign: &str| {
            let at = text.find(sign).unwrap_or_default();
            spelled_out(text, at..at + sign.len()).map(|(span, _)| text[span].to_owned())
        };
        assert_eq!(spelled("to ann [at] example [dot] com!", "[at]").as_deref(), Some("ann [at] example [dot] com"));
        assert_eq!(spelled("ann.lee(at)example.com", "(at)").as_deref(), Some("ann.lee(at)example.com"));
        assert_eq!(spelled("look (at) this", "(at)"), None);
        assert_eq!(spelled("look (at) it.now", "(at)"), None);
    }
}
