//! Secrets whose form takes more than a prefix: private keys, JWTs, passwords in URLs, keys with a telling middle.

use super::super::{byte, byte_before, is_word};
use super::formats::Body;
use crate::text::Span;
use crate::text::decode::decode_runs;

/// Reads what stands around a beginning.
pub(super) type Read = fn(&str, Span) -> Option<Span>;

/// What to look for, the id of the detector, and what reads it.
pub(super) const SHAPES: &[(&str, &str, Read)] = &[
    ("-----BEGIN ", "secret.private_key", pem),
    ("PuTTY-User-Key-File-", "secret.private_key", putty),
    ("LS0tLS1CRUdJTi", "secret.private_key", encoded_pem),
    ("eyJ", "secret.jwt", jwt),
    ("://", "secret.url_password", url_password),
    (":AA", "secret.telegram", telegram),
    ("-us1", "secret.mailchimp", mailchimp),
    ("-us2", "secret.mailchimp", mailchimp),
    ("8Q~", "secret.azure_client_secret", azure_client),
    ("7Q~", "secret.azure_client_secret", azure_client),
    (".atlasv1.", "secret.terraform", terraform),
    ("SK0", "secret.twilio", twilio),
    ("SK1", "secret.twilio", twilio),
    ("SK2", "secret.twilio", twilio),
    ("SK3", "secret.twilio", twilio),
    ("SK4", "secret.twilio", twilio),
    ("SK5", "secret.twilio", twilio),
    ("SK6", "secret.twilio", twilio),
    ("SK7", "secret.twilio", twilio),
    ("SK8", "secret.twilio", twilio),
    ("SK9", "secret.twilio", twilio),
    ("SKa", "secret.twilio", twilio),
    ("SKb", "secret.twilio", twilio),
    ("SKc", "secret.twilio", twilio),
    ("SKd", "secret.twilio", twilio),
    ("SKe", "secret.twilio", twilio),
    ("SKf", "secret.twilio", twilio),
    ("basic ", "secret.basic_auth", basic),
];

/// How many bytes from `at` on are accepted, `most` at the most.
fn run(bytes: &[u8], at: usize, most: usize, accept: impl Fn(u8) -> bool) -> usize {
    bytes.get(at..).unwrap_or_default().iter().take(most).take_while(|byte| accept(**byte)).count()
}

/// How many bytes before `at` are accepted.
fn run_before(bytes: &[u8], at: usize, most: usize, accept: impl Fn(u8) -> bool) -> usize {
    bytes.get(..at).unwrap_or_default().iter().rev().take(most).take_while(|byte| accept(**byte)).count()
}

/// A private key in armour of any kind, whole or cut off. Its line ends may be written out (`\n`).
fn pem(text: &str, at: Span) -> Option<Span> {
    let bytes = text.as_bytes();
    let title = run(bytes, at.end, 40, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ');
    let title_end = at.end + title;
    let named = text.get(at.end..title_end)?;
    if !(named.ends_with("PRIVATE KEY") || named.ends_with("PRIVATE KEY BLOCK"))
        || bytes.get(title_end..title_end + 5)? != b"-----"
    {
        return None;
    }
    // Headers such as `Proc-Type: 4,ENCRYPTED` hold more signs than keys do; dashes end both.
    let body = title_end + 5;
    let key = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || byte.is_ascii_whitespace()
            || matches!(byte, b'+' | b'/' | b'=' | b'\\' | b':' | b',' | b'"' | b'.' | b'(' | b')')
    };
    let mut end = body + run(bytes, body, usize::MAX, key);
    while byte(bytes, end) == b'-' && byte(bytes, end + 1) != b'-' {
        end += 1 + run(bytes, end + 1, usize::MAX, key);
    }
    let closing = text.get(end..)?.strip_prefix("-----END ").map(|rest| {
        let title =
            run(rest.as_bytes(), 0, 40, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ');
        end + "-----END ".len() + title + run(rest.as_bytes(), title, 5, |byte| byte == b'-')
    });
    let end = closing.unwrap_or_else(|| last_line_of_key(bytes, body, end));
    (end > body).then_some(at.start..end)
}

/// Where the lines that look like a key end, in text that goes on without a closing line.
fn last_line_of_key(bytes: &[u8], body: usize, end: usize) -> usize {
    let mut last = body;
    let mut at = body;
    for line in bytes.get(body..end).unwrap_or_default().split(|byte| *byte == b'\n') {
        let trimmed = line.trim_ascii();
        let is_key = trimmed.iter().all(|byte| Body::Base64.accepts(*byte) || matches!(byte, b'=' | b'\\' | b'"'));
        if !is_key && !trimmed.contains(&b':') {
            break;
        }
        if !trimmed.is_empty() {
            last = at + line.trim_ascii_end().len();
        }
        at += line.len() + 1;
    }
    last
}

/// From the first line to the digest in the last; no further than the next such file.
fn putty(text: &str, at: Span) -> Option<Span> {
    const LONGEST: usize = 16_384;
    let bytes = text.as_bytes();
    let rest = bytes.get(at.end..at.end.saturating_add(LONGEST).min(bytes.len()))?;
    let next = memchr::memmem::find(rest, b"PuTTY-User-Key-File-").unwrap_or(rest.len());
    let label = b"Private-MAC: ";
    let mac = at.end + memchr::memmem::find(rest.get(..next)?, label)? + label.len();
    Some(at.start..mac + run(bytes, mac, 80, |byte| byte.is_ascii_hexdigit()))
}

/// `-----BEGIN ... PRIVATE KEY` in base64, as in cluster configurations.
fn encoded_pem(text: &str, at: Span) -> Option<Span> {
    let bytes = text.as_bytes();
    if Body::Base64.accepts(byte_before(bytes, at.start, 1)) {
        return None;
    }
    let head = text.get(at.start..at.start + 64)?;
    let private = decode_runs(head).iter().any(|view| view.text().contains("PRIVATE KEY"));
    let end = at.start + run(bytes, at.start, usize::MAX, |byte| Body::Base64.accepts(byte));
    private.then_some(at.start..end + run(bytes, end, 2, |byte| byte == b'='))
}

/// Three parts of base64 with dots between them, the first of which is an object with an `alg`.
fn jwt(text: &str, at: Span) -> Option<Span> {
    let bytes = text.as_bytes();
    let part = |from: usize| from + run(bytes, from, usize::MAX, |byte| Body::Token.accepts(byte));
    if byte(bytes, at.start + 2) != b'J'
        || byte(bytes, at.start) != b'e'
        || Body::Token.accepts(byte_before(bytes, at.start, 1))
    {
        return None;
    }
    let head = part(at.start);
    if byte(bytes, head) != b'.' || head - at.start < 16 {
        return None;
    }
    let claims = part(head + 1);
    if byte(bytes, claims) != b'.' || claims - head < 8 {
        return None;
    }
    let signature = part(claims + 1);
    let is_header = decode_runs(text.get(at.start..head)?).iter().any(|view| view.text().contains("\"alg\""));
    is_header.then_some(at.start..signature)
}

/// The password in `scheme://user:password@host`.
fn url_password(text: &str, at: Span) -> Option<Span> {
    let bytes = text.as_bytes();
    if !byte_before(bytes, at.start, 1).is_ascii_alphanumeric() {
        return None;
    }
    let plain = |byte: u8| {
        byte > b' ' && !matches!(byte, b'/' | b'@' | b'"' | b'\'' | b'<' | b'>' | b'`' | b'\\' | b'?' | b'#' | b'|')
    };
    let user = run(bytes, at.end, 100, |byte| plain(byte) && byte != b':');
    let start = at.end + user + 1;
    if byte(bytes, at.end + user) != b':' {
        return None;
    }
    // A password may hold an `@` or a `#` of its own; the last sign before the host ends it.
    let length = run(bytes, start, 200, |byte| plain(byte) || matches!(byte, b'@' | b'#' | b'?'));
    let password = text.get(crate::text::align(text, start..start + length))?;
    let password = password.get(..password.rfind('@')?)?;
    let host = byte(bytes, start + password.len() + 1);
    let same = text.get(at.end..at.end + user) == Some(password);
    let real = password.len() >= 3 && !same && !super::assigned::is_placeholder(password);
    (real && (host.is_ascii_alphanumeric() || host == b'[')).then_some(start..start + password.len())
}

/// `123456789:AA...`
fn telegram(text: &str, at: Span) -> Option<Span> {
    let bytes = text.as_bytes();
    let digits = run_before(bytes, at.start, 12, |byte| byte.is_ascii_digit());
    let body = run(bytes, at.start + 1, 40, |byte| Body::Token.accepts(byte));
    let start = at.start - digits;
    ((8..=11).contains(&digits) && body == 35 && !is_word(byte_before(bytes, start, 1)))
        .then_some(start..at.start + 1 + body)
}

/// 32 hex digits, `-us` and a number.
fn mailchimp(text: &str, at: Span) -> Option<Span> {
    let bytes = text.as_bytes();
    let hex = run_before(bytes, at.start, 33, |byte| Body::Hex.accepts(byte));
    let start = at.start - hex;
    let end = at.end + run(bytes, at.end, 2, |byte| byte.is_ascii_digit());
    (hex == 32 && !is_word(byte_before(bytes, start, 1)) && !is_word(byte(bytes, end))).then_some(start..end)
}

/// Three characters, `8Q~`, and 31 to 34 more.
fn azure_client(text: &str, at: Span) -> Option<Span> {
    let bytes = text.as_bytes();
    let accept = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'~' | b'.' | b'-');
    let before = run_before(bytes, at.start, 4, accept);
    let after = run(bytes, at.end, 40, accept);
    let fits = before == 3 && (31..=35).contains(&after) && byte(bytes, at.start + 1) == b'Q';
    fits.then_some(at.start - before..at.end + after)
}

fn terraform(text: &str, at: Span) -> Option<Span> {
    let bytes = text.as_bytes();
    let before = run_before(bytes, at.start, 15, |byte| byte.is_ascii_alphanumeric());
    let after = run(bytes, at.end, 80, |byte| Body::Token.accepts(byte));
    (before == 14 && after >= 60).then_some(at.start - before..at.end + after)
}

fn twilio(text: &str, at: Span) -> Option<Span> {
    let bytes = text.as_bytes();
    let hex = run(bytes, at.start + 2, 33, |byte| Body::Hex.accepts(byte));
    let fits = text.get(at.start..at.start + 2) == Some("SK") && hex == 32;
    let alone = !is_word(byte_before(bytes, at.start, 1)) && !is_word(byte(bytes, at.start + 34));
    (fits && alone).then_some(at.start..at.start + 34)
}

/// User and password in base64, in a header.
fn basic(text: &str, at: Span) -> Option<Span> {
    let bytes = text.as_bytes();
    let head = text.get(crate::text::align(text, at.start.saturating_sub(24)..at.start))?.to_ascii_lowercase();
    let length = run(bytes, at.end, 400, |byte| Body::Base64.accepts(byte));
    let padding = run(bytes, at.end + length, 2, |byte| byte == b'=');
    let encoded = text.get(at.end..at.end + length)?;
    let pair = || decode_runs(&format!("{encoded:A<16}")).iter().any(|view| view.text().contains(':'));
    (head.contains("auth") && length >= 8 && pair()).then_some(at.end..at.end + length + padding)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::string_slice)]
    use super::*;

    fn read(text: &str) -> Vec<&str> {
        let mut found: Vec<_> = SHAPES
            .iter()
            .flat_map(|(part, _, read)| {
                text.match_indices(part).filter_map(|(at, part)| read(text, at..at + part.len()))
            })
            .map(|span| &text[span])
            .collect();
        found.dedup();
        found
    }

    const HEX: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

    #[test]
    fn private_keys_of_every_kind() {
        for kind in [
            "RSA PRIVATE KEY",
            "PRIVATE KEY",
            "OPENSSH PRIVATE KEY",
            "EC PRIVATE KEY",
            "ENCRYPTED PRIVATE KEY",
            "PGP PRIVATE KEY BLOCK",
        ] {
            let dashes = "-".repeat(5);
            for line in ["\n", "\\n", " ", "\r\n"] {
                let key = format!(
                    "{dashes}BEGIN {kind}{dashes}{line}MIIEpAIBAAKCAQEA1c7x{line}ab+/d=={line}{dashes}END {kind}{dashes}"
                );
                assert_eq!(read(&format!("my {key} ok")), [key]);
            }
            let cut = format!("{dashes}BEGIN {kind}{dashes}\nMIIEpAIBAAKCAQEA1c7x\nabcd");
            assert_eq!(read(&format!("{cut}\n\nThis is not it.")), [cut]);
        }
        let headed = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A1B\n\nMIIEpAIB\n-----END RSA PRIVATE KEY-----";
        assert_eq!(read(headed), [headed]);
        assert!(read("-----BEGIN PUBLIC KEY-----\nMIIEpAIBAAKC\n-----END PUBLIC KEY-----").is_empty());
        assert!(read("-----BEGIN CERTIFICATE-----\nMIIEpAIBAAKC\n-----END CERTIFICATE-----").is_empty());
        assert_eq!(
            read("PuTTY-User-Key-File-3: ssh-rsa\nPrivate-Lines: 1\nabcd\nPrivate-MAC: 0a1b2c\nEnd"),
            ["PuTTY-User-Key-File-3: ssh-rsa\nPrivate-Lines: 1\nabcd\nPrivate-MAC: 0a1b2c"]
        );
        let encoded = "LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQpNSUlFcEFJQkFBS0NBUUVBMWM3eA==";
        assert_eq!(read(&format!("client-key-data: {encoded}\n")), [encoded]);
    }

    #[test]
    fn a_jwt_has_a_header_with_an_algorithm() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_123";
        assert_eq!(read(&format!("Bearer {jwt}, ok")), [jwt]);
        assert!(read("eyJrIjoiYWJjZGVmZ2hpamtsIn0.eyJzdWIiOiIxIn0.abc").is_empty());
        assert!(read("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0").is_empty());
    }

    #[test]
    fn passwords_in_urls() {
        assert_eq!(read("postgres://app:s3cr3tPw@db.internal:5432/x"), ["s3cr3tPw"]);
        assert_eq!(read("see amqp://u:p@ss#1@[::1]/"), ["p@ss#1"]);
        for text in [
            "https://host:8080/a@b",
            "http://user:<password>@host",
            "redis://user:${PW}@host",
            "http://a:a@b",
            "https://ann@host",
            "ftp://x:password@host",
        ] {
            assert!(read(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn keys_with_a_telling_middle() {
        let mixed = format!("{HEX}{HEX}{HEX}");
        let (twilio, chimp) = (format!("SK{HEX}"), format!("{HEX}-us14"));
        let telegram = format!("123456789:AA{}", &mixed[..33]);
        let azure = format!("aB3{}{}", "8Q~", &mixed[..34]);
        let terraform = format!("{}.atlasv1.{}", &mixed[..14], &mixed[..67]);
        for key in [&twilio, &chimp, &telegram, &azure, &terraform] {
            assert_eq!(read(&format!("use {key} there")), [key]);
            assert!(read(&format!("use x{key}0 there")).is_empty(), "{key}");
        }
        assert_eq!(read("Authorization: basic dXNlcjpodW50ZXIy"), ["dXNlcjpodW50ZXIy"]);
        assert!(read("a basic understanding").is_empty());
    }
}
