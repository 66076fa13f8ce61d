//! The chain of one writer: each line says which number it has and what the SHA-256 of the writer's line before it is, and,
//! where somebody else's line stands between, of that one too: so a line that was changed, dropped or moved shows. A key
//! signs some of them, so that a chain made anew shows as well.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest as _, Sha256};

/// SHA-256 of a line without its line feed.
pub type Digest = [u8; 32];

/// Every so many records one is signed without being asked for.
pub const SIGNED_EVERY: u64 = 1000;

/// What is signed begins with this, so that no signature can be taken for one of something else.
const SIGNED_AS: &[u8] = b"kalguard-audit-1\n";

/// A record: a JSON object that takes the chain's members.
#[derive(Debug, Clone)]
pub struct Record {
    json: Vec<u8>,
    /// Where the chain's members go.
    end: usize,
    sign: bool,
}

impl Record {
    /// Take `json` as a record. `depth` is the number of closing braces at its end behind which the chain's members do
    /// not stand: 1 puts them into the object itself, 2 into the object that is its last member. `sign`: whether its line
    /// is to be signed, where there is a key.
    pub fn new(json: Vec<u8>, depth: usize, sign: bool) -> Result<Self, NotARecord> {
        let end = json.len().checked_sub(depth).ok_or(NotARecord)?;
        let (open, closing) = json.split_at_checked(end).ok_or(NotARecord)?;
        let printable = json.iter().all(|byte| matches!(byte, 0x20..0x7f));
        let is_record = printable && open.starts_with(b"{") && closing.iter().all(|&byte| byte == b'}');
        if is_record { Ok(Self { json, end, sign }) } else { Err(NotARecord) }
    }

    /// Length in bytes.
    pub fn size(&self) -> usize {
        self.json.len()
    }
}

/// What was handed over is no record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("record is not a JSON object in printable ASCII")]
pub struct NotARecord;

/// Who writes: the chain's name and its key.
pub struct Chain {
    id: String,
    key: Option<SigningKey>,
}

/// How far a chain has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Link {
    /// Number of the last line; 0 before the first.
    pub seq: u64,
    /// Digest of the last line; zeros before the first.
    pub digest: Digest,
    /// Lines since the last one that was signed; 0 without a key.
    pub unsigned: u64,
}

impl Chain {
    /// A chain that begins. `id` is printable ASCII without quotes; `key` the seed of an Ed25519 key.
    pub fn new(id: &str, key: Option<[u8; 32]>) -> Self {
        Self { id: id.to_owned(), key: key.map(|seed| SigningKey::from_bytes(&seed)) }
    }

    /// The line of a record that comes after `last`, without its line feed, and how far the chain is then.
    ///
    /// `after` is given where the line before it in the file is not `last`: the digest of that line, if there is one.
    pub fn seal(&self, last: Link, record: &Record, after: Option<Option<Digest>>) -> (Vec<u8>, Link) {
        let (open, closing) = record.json.split_at_checked(record.end).unwrap_or((&record.json, b""));
        let seq = last.seq + 1;
        let mut line = open.to_vec();
        let separator = if open.ends_with(b"{") { "" } else { "," };
        let (id, prev) = (&self.id, hex(&last.digest));
        line.extend(format!(r#"{separator}"chain":"{id}","seq":{seq},"prev":"{prev}""#).bytes());
        match after {
            None => {}
            Some(None) => line.extend(br#","after":null"#),
            Some(Some(before)) => line.extend(format!(r#","after":"{}""#, hex(&before)).bytes()),
        }
        let signed = self.sign(&mut line, closing, record.sign || seq.is_multiple_of(SIGNED_EVERY));
        line.extend(closing);
        let unsigned = if signed || self.key.is_none() { 0 } else { last.unsigned + 1 };
        let next = Link { seq, digest: digest(&line), unsigned };
        (line, next)
    }

    fn sign(&self, line: &mut Vec<u8>, closing: &[u8], wanted: bool) -> bool {
        let Some(key) = self.key.as_ref().filter(|_| wanted) else { return false };
        let signature = key.sign(&[SIGNED_AS, line, closing].concat());
        line.extend(format!(r#","signature":"{}""#, URL_SAFE_NO_PAD.encode(signature.to_bytes())).bytes());
        true
    }
}

/// The digest of a line.
pub fn digest(line: &[u8]) -> Digest {
    Sha256::digest(line).into()
}

fn hex(digest: &Digest) -> String {
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature, Verifier};

    use super::*;

    fn record(json: &str) -> Result<Record, NotARecord> {
        Record::new(json.into(), 1, false)
    }

    fn text(line: &[u8]) -> &str {
        std::str::from_utf8(line).unwrap_or_default()
    }

    #[test]
    fn a_line_names_the_one_before_it() -> Result<(), NotARecord> {
        let chain = Chain::new("wrt_1", None);
        let (first, link) = chain.seal(Link::default(), &record(r#"{"a":1}"#)?, Some(None));
        assert_eq!(
            text(&first),
            format!(r#"{{"a":1,"chain":"wrt_1","seq":1,"prev":"{}","after":null}}"#, "0".repeat(64))
        );
        let (second, link) = chain.seal(link, &record("{}")?, None);
        assert_eq!(text(&second), format!(r#"{{"chain":"wrt_1","seq":2,"prev":"{}"}}"#, hex(&digest(&first))));
        let (third, _) = chain.seal(link, &record("{}")?, Some(Some(digest(b"x"))));
        assert!(text(&third).ends_with(&format!(r#","after":"{}"}}"#, hex(&digest(b"x")))));
        Ok(())
    }

    #[test]
    fn its_members_can_stand_in_the_last_member() -> Result<(), NotARecord> {
        let chain = Chain::new("c", None);
        let record = Record::new(br#"{"a":1,"unmapped":{"b":2}}"#.to_vec(), 2, false)?;
        let (line, _) = chain.seal(Link::default(), &record, None);
        assert!(
            text(&line).starts_with(r#"{"a":1,"unmapped":{"b":2,"chain":"c","seq":1,"#) && line.ends_with(br#"0"}}"#)
        );
        Ok(())
    }

    #[test]
    fn what_could_be_more_than_one_line_is_none() {
        for json in ["", "}", "[]", "{\"a\":\"\n\"}", "{\"a\":\"\u{85}\"}", "{\"a\":\"\u{1b}[2J\"}", "{} "] {
            assert_eq!(record(json).err(), Some(NotARecord), "{json:?}");
        }
        assert!(Record::new(br#"{"a":1}"#.to_vec(), 2, false).is_err());
    }

    #[test]
    fn a_signature_is_for_all_of_the_line() -> Result<(), Box<dyn std::error::Error>> {
        let chain = Chain::new("c", Some([7; 32]));
        let (line, link) = chain.seal(Link::default(), &Record::new(b"{}".to_vec(), 1, true)?, None);
        let (signed, signature) = text(&line).split_once(r#","signature":""#).ok_or("not signed")?;
        let signature = URL_SAFE_NO_PAD.decode(signature.trim_end_matches("\"}"))?;
        let key = SigningKey::from_bytes(&[7; 32]).verifying_key();
        key.verify(format!("kalguard-audit-1\n{signed}}}").as_bytes(), &Signature::from_slice(&signature)?)?;
        assert_eq!(link.unsigned, 0);
        assert_eq!(chain.seal(link, &record("{}")?, None).1.unsigned, 1);
        let before = Link { seq: SIGNED_EVERY - 1, ..link };
        assert_eq!(chain.seal(before, &record("{}")?, None).1.unsigned, 0);
        Ok(())
    }
}
