//! Values assigned to a name that says secret: `password = ...`, `"api_key": "..."`, `the token is ...`.
//!
//! The name makes it likely, the value makes it certain: placeholders, code, prose, paths and numbers are none.

use super::super::{byte, byte_before, is_word};
use crate::abnormality::entropy;
use crate::text::{Span, align};

/// How much a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// People choose the value; it may be short.
    Password,
    /// Short for it, and part of many other words.
    Pass,
    /// Machines choose the value; it looks like it.
    Key,
    /// The value follows without any sign between.
    Bearer,
}

pub(super) const NAMES: &[(&str, Name)] = &[
    ("password", Name::Password),
    ("passwd", Name::Password),
    ("passphrase", Name::Password),
    ("passwort", Name::Password),
    ("kennwort", Name::Password),
    ("contraseña", Name::Password),
    ("mot de passe", Name::Password),
    ("senha", Name::Password),
    ("wachtwoord", Name::Password),
    ("пароль", Name::Password),
    ("密码", Name::Password),
    ("密碼", Name::Password),
    ("パスワード", Name::Password),
    ("비밀번호", Name::Password),
    ("pwd", Name::Password),
    ("pass", Name::Pass),
    ("secret", Name::Key),
    ("token", Name::Key),
    ("apikey", Name::Key),
    ("api_key", Name::Key),
    ("api-key", Name::Key),
    ("api key", Name::Key),
    ("app_key", Name::Key),
    ("appkey", Name::Key),
    ("accesskey", Name::Key),
    ("access_key", Name::Key),
    ("access-key", Name::Key),
    ("access key", Name::Key),
    ("privatekey", Name::Key),
    ("private_key", Name::Key),
    ("private-key", Name::Key),
    ("private key", Name::Key),
    ("account_key", Name::Key),
    ("auth_key", Name::Key),
    ("authkey", Name::Key),
    ("master_key", Name::Key),
    ("signing_key", Name::Key),
    ("encryption_key", Name::Key),
    ("encryption key", Name::Key),
    ("subscription-key", Name::Key),
    ("license_key", Name::Key),
    ("client-key-data", Name::Key),
    ("credential", Name::Key),
    ("\"auth\"", Name::Key),
    ("bearer", Name::Bearer),
];

/// Longer values are cut here; what they are shows before.
const LONGEST: usize = 200;
/// A name may go on like this without being the name of something about the secret.
const LONGEST_TAIL: usize = 32;

const MIN_BITS_PER_BYTE: f64 = 2.8;

/// Names with one of these after the telling word are about the secret, and do not hold it.
const ABOUT: &[&str] = &[
    "redacted",
    "hash",
    "len",
    "count",
    "name",
    "url",
    "uri",
    "type",
    "polic",
    "min",
    "max",
    "file",
    "path",
    "expir",
    "limit",
    "field",
    "usage",
    "reset",
    "manager",
    "rule",
    "require",
    "valid",
    "hint",
    "digest",
    "public",
    "arn",
    "ref",
    "version",
    "label",
    "title",
    "error",
    "strength",
    "form",
    "input",
    "page",
    "ttl",
    "budget",
    "per",
    "iz",
    "ise",
    "age",
    "stat",
    "id",
    "endpoint",
    "generator",
    "port",
    "class",
    "ing",
];

/// Names that end like this before the telling word are of other tokens and keys.
const OTHERS: &[&str] = &[
    "page",
    "next",
    "continuation",
    "sync",
    "cursor",
    "max",
    "pad",
    "eos",
    "bos",
    "unk",
    "sep",
    "cls",
    "mask",
    "num",
    "stop",
    "special",
    "public",
    "input",
    "output",
    "total",
    "prompt",
    "completion",
    "n",
    "csrf",
    "xsrf",
    "com",
    "by",
    "sur",
    "tres",
    "under",
    "bi",
];

/// The value assigned to the name at `at`.
pub(super) fn read(text: &str, at: Span, name: Name) -> Option<Span> {
    let bytes = text.as_bytes();
    let tail = run(bytes, at.end, LONGEST_TAIL, |byte| is_word(byte) || byte == b'-');
    let tail_end = at.end + tail;
    if byte(bytes, tail_end) == b'(' || is_about(text.get(at.end..tail_end)?) || is_other(bytes, at.start, name) {
        return None;
    }
    let (start, sign) = value_start(bytes, at.start, tail_end, name)?;
    let quote = Some(byte(bytes, start)).filter(|byte| is_quote(*byte));
    let mut start = start + usize::from(quote.is_some());
    for scheme in [&b"bearer "[..], b"token ", b"basic "] {
        if bytes.get(start..start + scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme)) {
            start += scheme.len();
        }
    }
    let end = value_end(text, start, quote);
    let value = text.get(start..end)?;
    is_secret(value, name, sign, quote.is_some()).then_some(start..end)
}

fn run(bytes: &[u8], at: usize, most: usize, accept: impl Fn(u8) -> bool) -> usize {
    bytes.get(at..).unwrap_or_default().iter().take(most).take_while(|byte| accept(**byte)).count()
}

fn is_about(tail: &str) -> bool {
    if tail.is_empty() {
        return false;
    }
    let tail = tail.to_ascii_lowercase();
    ABOUT.iter().any(|about| tail.contains(about))
}

fn is_other(bytes: &[u8], start: usize, name: Name) -> bool {
    if name == Name::Pass
        && byte_before(bytes, start, 1).is_ascii_alphabetic()
        && !byte(bytes, start).is_ascii_uppercase()
    {
        return true;
    }
    let signs = usize::from(matches!(byte_before(bytes, start, 1), b'_' | b'-' | b' '));
    let head = bytes.get(..start - signs.min(start)).unwrap_or_default();
    OTHERS.iter().any(|other| {
        let from = head.len().saturating_sub(other.len());
        let whole = other.len() > 3 || !byte_before(bytes, from, 1).is_ascii_alphabetic();
        whole && head.get(from..).is_some_and(|end| end.eq_ignore_ascii_case(other.as_bytes()))
    })
}

/// What joins a name to its value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// `=`, `:` and the like.
    Assignment,
    /// `is`.
    Word,
    /// A blank, where nothing else is to be expected.
    Blank,
}

fn value_start(bytes: &[u8], name: usize, tail_end: usize, kind: Name) -> Option<(usize, Sign)> {
    let closes = |byte: u8| matches!(byte, b'"' | b'\'' | b'`' | b']' | b')' | b'*' | b'_' | b'\\');
    let mut at = tail_end + run(bytes, tail_end, 4, closes);
    let blanks = run(bytes, at, 3, |byte| byte == b' ' || byte == b'\t');
    let sign_at = at + blanks;
    let sign = run(bytes, sign_at, 3, |byte| matches!(byte, b':' | b'=' | b'>'));
    if sign == 0 && bytes.get(sign_at..).is_some_and(|rest| rest.starts_with("：".as_bytes())) {
        at = sign_at + "：".len();
    } else if sign > 0 {
        at = sign_at + sign;
    } else if blanks > 0
        && bytes.get(sign_at..).is_some_and(|rest| rest.starts_with(b"is ") || rest.starts_with(b"is:"))
    {
        let from = sign_at + 3;
        return Some((from + run(bytes, from, 2, |byte| byte == b' '), Sign::Word));
    } else if blanks > 0 && (kind == Name::Bearer || is_quote(byte(bytes, sign_at)) || follows_option(bytes, name)) {
        return Some((sign_at, Sign::Blank));
    } else {
        return None;
    }
    let at = at + run(bytes, at, 4, |byte| byte.is_ascii_whitespace() || matches!(byte, b'*' | b'\\'));
    Some((at, Sign::Assignment))
}

const fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

/// `--password X` of a command, `login X password Y` of a netrc file.
fn follows_option(bytes: &[u8], name: usize) -> bool {
    let from = name.saturating_sub(64);
    let head = bytes.get(from..name).unwrap_or_default();
    let word = head.iter().rev().take_while(|byte| is_word(**byte) || **byte == b'-').count();
    let option = head.len().checked_sub(word).and_then(|at| head.get(at..)).is_some_and(|word| word.starts_with(b"--"));
    option || memchr::memmem::find(head, b"login ").is_some()
}

/// Where the value ends: at its quote, or where a value without quotes may end.
fn value_end(text: &str, start: usize, quote: Option<u8>) -> usize {
    let bytes = text.as_bytes();
    let inside = |byte: u8| match quote {
        Some(quote) => byte != quote && byte != b'\n' && byte != b'\\',
        None => byte > b' ' && !matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | b',' | b';' | b'&' | b'\\' | b'|'),
    };
    let end = align(text, start..start + run(bytes, start, LONGEST, inside)).end;
    if quote.is_some() {
        return end;
    }
    let value = text.get(start..end).unwrap_or_default();
    let value = value.trim_end_matches(['.', ')', ']', '}', '?', ':', '*', '。', '，']);
    start + value.len()
}

fn is_secret(value: &str, name: Name, sign: Sign, quoted: bool) -> bool {
    let has = |test: fn(&u8) -> bool| value.bytes().any(|byte| test(&byte));
    let least = match name {
        Name::Password | Name::Pass => 6,
        Name::Key => 8,
        Name::Bearer => 16,
    };
    let (digit, letter) = (has(u8::is_ascii_digit), has(u8::is_ascii_alphabetic));
    let symbol = value.bytes().any(|byte| b"!@#%^&*+?~$".contains(&byte));
    let chosen = matches!(name, Name::Password | Name::Pass);
    let strong = digit && letter
        || chosen && sign == Sign::Assignment && symbol && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    let other = value.contains(' ')
        || is_code(value, quoted, chosen)
        || is_placeholder(value)
        || is_reference(value)
        || !chosen && is_identifier(value);
    value.len() >= least
        && strong
        && !other
        && entropy(value.get(..align(value, 0..128).end).unwrap_or(value).as_bytes())
            >= if chosen { 2.2 } else { MIN_BITS_PER_BYTE }
}

/// Calls, look-ups, variables.
fn is_code(value: &str, quoted: bool, chosen: bool) -> bool {
    let opens = value.contains(['(', '[', '{']);
    let variable = value.starts_with(['$', '%', '@', '<', '{']) || value.contains("${") || value.contains("$(");
    let path = value.contains('.')
        && value.split('.').all(|part| {
            part.len() < 16 && part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(is_word)
        });
    variable || opens && !(quoted && chosen) || path && !quoted
}

/// Paths, addresses, names of resources, times: where a secret is, not what it is.
fn is_reference(value: &str) -> bool {
    let begins = [
        "/",
        "./",
        "~/",
        "../",
        "arn:",
        "projects/",
        "env:",
        "op://",
        "vault:",
        "sha1-",
        "sha256",
        "sha512",
        "file:",
        "secretsmanager",
        "secrets.",
    ];
    let ends = [".json", ".pem", ".key", ".txt", ".yaml", ".yml", ".crt", ".py", ".js", ".md", ".env"];
    value.contains("://")
        || begins.iter().any(|head| value.starts_with(head))
        || ends.iter().any(|tail| value.ends_with(tail))
        || value.bytes().all(|byte| byte.is_ascii_digit() || b"-:.TZ+/_ ".contains(&byte))
}

/// Words with a number at the end: `my_token_2`, `ApiKeyV2`.
fn is_identifier(value: &str) -> bool {
    let words = value.trim_end_matches(|c: char| c.is_ascii_digit());
    let signs = |byte: u8| matches!(byte, b'_' | b'-' | b'.');
    words.bytes().all(|byte| byte.is_ascii_alphabetic() || signs(byte)) && value.len() - words.len() <= 4
}

/// What stands where a secret will be.
pub(super) fn is_placeholder(value: &str) -> bool {
    const WORDS: &[&str] = &[
        "your_",
        "your-",
        "yourpass",
        "yourtoken",
        "yoursecret",
        "yourapi",
        "changeme",
        "change_me",
        "change-me",
        "placeholder",
        "redacted",
        "dummy",
        "xxxx",
        "****",
        "....",
        "todo",
        "insert",
        "replace",
        "<",
        "${",
        "{{",
        "$(",
        "sample_",
        "example_",
        "my_secret",
        "mysecret",
        "_here",
        "-here",
    ];
    const WHOLE: &[&str] =
        &["password", "pass", "passwd", "pwd", "secret", "token", "test", "example", "none", "null", "pw"];
    let lower = value.to_ascii_lowercase();
    WORDS.iter().any(|word| lower.contains(word))
        || WHOLE.contains(&lower.as_str())
        || lower.bytes().all(|byte| Some(&byte) == lower.as_bytes().first())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::string_slice)]
    use super::*;

    fn finds(text: &str) -> Vec<&str> {
        let lower = text.to_ascii_lowercase();
        let places = NAMES.iter().flat_map(|(part, name)| {
            lower.match_indices(part).filter_map(|(at, _)| read(text, at..at + part.len(), *name)).collect::<Vec<_>>()
        });
        let mut spans: Vec<_> = places.collect();
        spans.sort_by_key(|span| span.start);
        spans.dedup();
        spans.into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn values_are_found_without_their_names() {
        for (text, value) in [
            ("password: hunter2Zq9!x", "hunter2Zq9!x"),
            ("my password is hunter2Zq9.", "hunter2Zq9"),
            ("{\"api_key\": \"q8Zt21kLmX03\"}", "q8Zt21kLmX03"),
            ("{\\\"password\\\": \\\"q8Zt21kL\\\"}", "q8Zt21kL"),
            (
                "export AWS_SECRET_ACCESS_KEY=wJalrX8tnFEMI/K7MDENG/bPxRfiCYq1w2e3r4t5",
                "wJalrX8tnFEMI/K7MDENG/bPxRfiCYq1w2e3r4t5",
            ),
            ("Authorization: Bearer q8Zt21kLmX03q8Zt21kLmX03", "q8Zt21kLmX03q8Zt21kLmX03"),
            ("//registry/:_authToken=q8Zt21kLmX03", "q8Zt21kLmX03"),
            ("machine x login ann password q8Zt21kL", "q8Zt21kL"),
            ("mysql --password q8Zt21kL -h db", "q8Zt21kL"),
            ("my access token 'q8Zt21kLmX03' and", "q8Zt21kLmX03"),
            ("DB_PASS='Tr!umph-Sky'", "Tr!umph-Sky"),
            ("**Password:** hunter2Zq9", "hunter2Zq9"),
            ("Passwort: Sommer2024!", "Sommer2024!"),
            ("密码：q8Zt21kL", "q8Zt21kL"),
            ("\"auth\": \"dXNlcjpodW50ZXIy\"", "dXNlcjpodW50ZXIy"),
            ("x-api-key: 0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9", "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"),
            ("?access_token=q8Zt21kLmX03&x=1", "q8Zt21kLmX03"),
        ] {
            assert_eq!(finds(text), [value], "{text}");
        }
    }

    #[test]
    fn code_prose_and_placeholders_are_no_secrets() {
        for text in [
            "password = request.form['password1']",
            "api_key=${API_KEY_2}",
            "token: your_token_here2",
            "the secret is patience",
            "password: must be 8 characters",
            "password: <password1>",
            "password = os.environ2.get",
            "password: ********",
            "password=changeme123",
            "token = get_token2()",
            "max_tokens: 4096",
            "next_page_token: CAUQAA12xyzq",
            "password_hash: 9e7d850a5a7707e5ca0911d3",
            "tokenizer=bert2base3cased",
            "secret_arn: arn2aws4secret",
            "private_key: /etc/ssl/key2.pem",
            "compass: 12ab34cd",
            "token expires at 2024-05-06T10:00:00Z",
            "token: 2024-05-06T10:00:00Z",
            "the API key is in section 4b of the manual",
            "secret: my_token_v2",
        ] {
            assert_eq!(finds(text), Vec::<&str>::new(), "{text}");
        }
    }
}
