//! Secrets: keys with a known form, private keys, and values assigned to names that say secret.

use regex::bytes::Regex;

use super::{Found, Kind, expression};
use crate::abnormality::entropy;
use crate::error::CompileError;
use crate::finding::Category;
use crate::text::align;

const KNOWN: Kind = Kind::new("secret.known_form", Category::Secret, 35, 9);
const ASSIGNED: Kind = Kind::new("secret.assigned", Category::Secret, 30, 5);

/// Forms of keys. The first part must occur in the text; the second is the whole key.
const FORMS: &[(&str, &str)] = &[
    (
        "-----BEGIN ",
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:\s*[A-Z][A-Za-z-]{2,20}: [^\n]{1,80}\n)*(?:(?:\s|\\n|\\r)*[A-Za-z0-9+/=]{16,})*(?:(?:\s|\\n|\\r)*[A-Za-z0-9+/=]+)?(?:\s|\\n|\\r)*(?:-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?",
    ),
    ("AKIA", r"\bAKIA[0-9A-Z]{16}\b"),
    ("ASIA", r"\bASIA[0-9A-Z]{16}\b"),
    ("AIza", r"\bAIza[0-9A-Za-z_-]{35}"),
    ("ya29.", r"\bya29\.[0-9A-Za-z_-]{20,}"),
    ("GOCSPX-", r"\bGOCSPX-[0-9A-Za-z_-]{20,}"),
    ("AccountKey=", r"AccountKey=[A-Za-z0-9+/]{40,}={0,2}"),
    ("sig=", r"\bsig=[A-Za-z0-9%+/]{40,}={0,2}"),
    ("8Q~", r"\b[A-Za-z0-9_~.-]{3}8Q~[A-Za-z0-9_~.-]{31,34}"),
    ("gh", r"\bgh[pousr]_[A-Za-z0-9]{30,}"),
    ("github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{40,}"),
    ("gl", r"\bgl(?:pat|rt|dt|ptt|oas)-[A-Za-z0-9_-]{18,}"),
    ("xox", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("xapp-", r"\bxapp-[A-Za-z0-9-]{20,}"),
    ("hooks.slack.com", r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_+-]{20,}"),
    ("_live_", r"\b(?:sk|rk|pk|kg|whsec)_live_[A-Za-z0-9_-]{8,}"),
    ("_test_", r"\b(?:sk|rk|pk|kg|whsec)_test_[A-Za-z0-9_-]{8,}"),
    ("whsec_", r"\bwhsec_[A-Za-z0-9+/=]{20,}"),
    ("sk-", r"\bsk-(?:ant-|proj-|svcacct-|admin-|or-v1-)?[A-Za-z0-9_-]{20,}"),
    ("npm_", r"\bnpm_[A-Za-z0-9]{30,}"),
    ("pypi-", r"\bpypi-[A-Za-z0-9_-]{50,}"),
    ("hf_", r"\bhf_[A-Za-z0-9]{30,}"),
    ("SG.", r"\bSG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{30,}"),
    ("eyJ", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    ("dop_v1_", r"\bdop_v1_[a-f0-9]{64}\b"),
    ("://", r"\b[a-z][a-z0-9+]{2,20}://[^\s:/@]{1,64}:[^\s/@]{3,128}@[A-Za-z0-9]"),
];

const MIN_BITS_PER_BYTE: f64 = 2.8;

#[derive(Debug)]
pub(super) struct Secrets {
    forms: Vec<(&'static str, Regex)>,
    assigned: Regex,
}

impl Secrets {
    pub(super) fn new() -> Result<Self, CompileError> {
        let forms =
            FORMS.iter().map(|&(part, form)| Ok((part, expression(form)?))).collect::<Result<_, CompileError>>()?;
        let assigned = expression(
            r#"(?i)(?:api[_ -]?key|apikey|secret(?:[_ -]?(?:access)?[_ -]?key)?|access[_ -]?key|client[_ -]?secret|auth[_ -]?token|access[_ -]?token|token|bearer|passw(?:or)?d|passwd|passphrase|pwd|private[_ -]?key|account[_ -]?key)["']?(?:\s{0,3}(?::|=>?|:=)\s{0,3}|\s(?:is:?\s)?)(?:bearer\s)?["']?([^\s"'<>,;]{8,200})"#,
        )?;
        Ok(Self { forms, assigned })
    }

    pub(super) fn find(&self, text: &str, found: &mut Vec<Found>) {
        for (part, form) in &self.forms {
            if memchr::memmem::find(text.as_bytes(), part.as_bytes()).is_some() {
                found.extend(form.find_iter(text.as_bytes()).map(|hit| (align(text, hit.range()), KNOWN)));
            }
        }
        for value in self.assigned.captures_iter(text.as_bytes()).filter_map(|captures| captures.get(1)) {
            let span = align(text, value.range());
            if text.get(span.clone()).is_some_and(is_random) {
                found.push((span, ASSIGNED));
            }
        }
    }
}

/// Whether a value looks made by chance rather than by a writer: letters and digits mixed, no code, no placeholder.
fn is_random(value: &str) -> bool {
    let value = value.trim_end_matches(['.', ')', '!', '?', ':']);
    let has = |test: fn(&u8) -> bool| value.bytes().any(|byte| test(&byte));
    value.len() >= 8
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_alphabetic)
        && !value.contains(['(', ')', '[', ']', '{', '}', '$', '\\'])
        && !value.contains("://")
        && entropy(value.as_bytes()) >= MIN_BITS_PER_BYTE
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::string_slice)]
    use super::*;

    fn finds(text: &str) -> Vec<&str> {
        let mut found = Vec::new();
        Secrets::new().unwrap().find(text, &mut found);
        found.into_iter().map(|(span, _)| &text[span]).collect()
    }

    #[test]
    fn keys_are_known_by_their_form() {
        for key in [
            "AKIAIOSFODNN7EXAMPLE",
            "kg_live_0123456789abcdef",
            concat!("sk-", "ant-", "api03-abcdefghijkl0123456789"),
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_123",
            "npm_abcdefghijklmnopqrstuvwxyz0123456789",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA1c7x\nabcd\n-----END RSA PRIVATE KEY-----",
        ] {
            assert_eq!(finds(&format!("see {key} here")), [key]);
        }
    }

    #[test]
    fn assigned_values_are_found_without_their_names() {
        assert_eq!(finds("password: hunter2Zq9!x"), ["hunter2Zq9!x"]);
        assert_eq!(finds("{\"api_key\": \"q8Zt21kLmX03\"}"), ["q8Zt21kLmX03"]);
    }

    #[test]
    fn code_and_placeholders_are_not_secrets() {
        for text in [
            "password = request.form['password']",
            "api_key=${API_KEY_2}",
            "token: your_token_here",
            "the secret is patience",
            "sk-learn is a library",
        ] {
            assert_eq!(finds(text), Vec::<&str>::new(), "{text}");
        }
    }
}
