//! Numbers with a rule of their own: payment cards, social security numbers, IBANs, IP addresses.

use std::net::Ipv6Addr;

use regex::bytes::Regex;

use super::{Found, Kind, contains_any, digits, expression, stands_alone, words_before};
use crate::error::CompileError;
use crate::finding::Category;
use crate::text::Span;

const CARD: Kind = Kind::new("pii.credit_card", Category::CreditCard, 35, 8);
const SSN: Kind = Kind::new("pii.ssn", Category::Ssn, 35, 7);
const IBAN: Kind = Kind::new("pii.iban", Category::Iban, 30, 9);
const IPV4: Kind = Kind::new("pii.ipv4", Category::IpAddress, 8, 6);
const IPV6: Kind = Kind::new("pii.ipv6", Category::IpAddress, 8, 7);

const CARD_WORDS: &[&str] =
    &["card", "visa", "mastercard", "maestro", "amex", "credit", "debit", "karte", "tarjeta", "carte"];
const SSN_WORDS: &[&str] = &["ssn", "social security", "social-security", "social sec"];
const VERSION_WORDS: &[&str] = &[
    "version",
    "section",
    "chapter",
    "release",
    "build",
    "firmware",
    "clause",
    "paragraph",
    "§",
    "oid",
    "ver.",
    "figure",
    "table",
    "kernel",
];

#[derive(Debug)]
pub(super) struct Numbers {
    card: Regex,
    ssn: Regex,
    iban: Regex,
    ipv4: Regex,
    ipv6: Regex,
}

impl Numbers {
    pub(super) fn new() -> Result<Self, CompileError> {
        Ok(Self {
            card: expression(r"\d(?:[ -]?\d){11,18}")?,
            ssn: expression(r"\d{3}-\d{2}-\d{4}|\d{3} \d{2} \d{4}|\d{9}")?,
            iban: expression(r"\b[A-Za-z]{2}\d{2}[ -]?[A-Za-z0-9]{2,4}")?,
            ipv4: expression(r"\d{1,3}(?:\.\d{1,3}){3}")?,
            ipv6: expression(r"(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?")?,
        })
    }

    pub(super) fn find(&self, text: &str, found: &mut Vec<Found>) {
        let bytes = text.as_bytes();
        let mut push = |regex: &Regex, kind: Kind, test: fn(&str, &Span) -> bool| {
            let spans = regex.find_iter(bytes).map(|hit| hit.range());
            found.extend(spans.filter(|span| test(text, span)).map(|span| (span, kind)));
        };
        push(&self.card, CARD, is_card);
        push(&self.ssn, SSN, is_ssn);
        push(&self.ipv4, IPV4, is_ipv4);
        push(&self.ipv6, IPV6, is_ipv6);
        found.extend(self.iban.find_iter(bytes).filter_map(|hit| iban_at(text, hit.start())).map(|span| (span, IBAN)));
    }
}

fn is_card(text: &str, span: &Span) -> bool {
    let Some(written) = text.get(span.clone()) else { return false };
    let number = digits(written);
    stands_alone(text, span)
        && luhn(&number)
        && match issuer(&number) {
            Issuer::Sure => true,
            Issuer::WithContext => contains_any(&words_before(text, span, 40), CARD_WORDS),
            Issuer::None => false,
        }
}

enum Issuer {
    Sure,
    /// So wide a range that one number in ten would pass; only next to a word that says card.
    WithContext,
    None,
}

fn issuer(number: &[u8]) -> Issuer {
    let head = |count: usize| number.iter().take(count).fold(0u32, |value, &digit| value * 10 + u32::from(digit));
    let length = number.len();
    match (head(2), head(4), length) {
        (40..=49, _, 16 | 19) | (51..=55, _, 16) | (_, 2221..=2720, 16) | (34 | 37, _, 15) => Issuer::Sure,
        (65, _, 16..=19) | (_, 6011 | 6440..=6499, 16..=19) | (_, 3528..=3589, 16..=19) => Issuer::Sure,
        (36 | 38 | 39, _, 14) | (_, 3000..=3059, 14) | (62, _, 16..=19) | (_, 2131 | 1800, 15) => Issuer::Sure,
        (40..=49, _, 13) | (50 | 56..=58 | 60..=69, _, 12..=19) => Issuer::WithContext,
        _ => Issuer::None,
    }
}

/// The check digit of payment cards. A number of one digit only has it by accident.
fn luhn(number: &[u8]) -> bool {
    let sum: u32 = number
        .iter()
        .rev()
        .enumerate()
        .map(
            |(place, &digit)| {
                if place % 2 == 0 { u32::from(digit) } else { u32::from(digit) * 2 / 10 + u32::from(digit) * 2 % 10 }
            },
        )
        .sum();
    sum.is_multiple_of(10) && number.iter().any(|digit| Some(digit) != number.first())
}

fn is_ssn(text: &str, span: &Span) -> bool {
    let Some(written) = text.get(span.clone()) else { return false };
    let number = digits(written).iter().fold(0u32, |value, &digit| value * 10 + u32::from(digit));
    let (area, group, serial) = (number / 1_000_000, number / 10_000 % 100, number % 10_000);
    let assigned = area != 0 && area != 666 && area < 900 && group != 0 && serial != 0;
    let bare = !written.contains('-');
    assigned && stands_alone(text, span) && (!bare || contains_any(&words_before(text, span, 40), SSN_WORDS))
}

fn is_ipv4(text: &str, span: &Span) -> bool {
    let Some(written) = text.get(span.clone()) else { return false };
    let octets =
        written.split('.').all(|octet| octet.parse::<u8>().is_ok() && (octet.len() == 1 || !octet.starts_with('0')));
    let before = words_before(text, span, 16);
    octets
        && alone_but_for_port(text, span)
        && !written.starts_with("127.")
        && !written.starts_with("0.")
        && !written.starts_with("255.255.")
        && !before.ends_with('v')
        && !contains_any(&before, VERSION_WORDS)
}

/// An address may be followed by a port or a prefix length.
fn alone_but_for_port(text: &str, span: &Span) -> bool {
    let bytes = text.as_bytes();
    let next = bytes.get(span.end).copied();
    if matches!(next, Some(b':' | b'/' | b',' | b'-')) {
        return stands_alone(text.get(..span.end).unwrap_or_default(), span);
    }
    stands_alone(text, span)
}

fn is_ipv6(text: &str, span: &Span) -> bool {
    let Some(written) = text.get(span.clone()) else { return false };
    let bytes = text.as_bytes();
    let is_word =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'));
    let joined =
        is_word(bytes.get(span.end)) || span.start.checked_sub(1).is_some_and(|before| is_word(bytes.get(before)));
    let groups = written.split(':').filter(|group| !group.is_empty());
    let plausible = written.bytes().any(|byte| byte.is_ascii_digit())
        && groups.clone().count() >= 2
        && groups.clone().any(|group| group.len() >= 3);
    !joined && plausible && written.parse::<Ipv6Addr>().is_ok()
}

/// The IBAN that starts at `start`, if there is one.
fn iban_at(text: &str, start: usize) -> Option<Span> {
    let rest = text.as_bytes().get(start..)?;
    let country = [rest.first()?.to_ascii_uppercase(), rest.get(1)?.to_ascii_uppercase()];
    let length = iban_length(country)?;
    let (mut number, mut end) = (Vec::with_capacity(length), start);
    for (offset, &byte) in rest.iter().enumerate().take(length * 2) {
        if byte.is_ascii_alphanumeric() {
            number.push(byte.to_ascii_uppercase());
            end = start + offset + 1;
        } else if !matches!(byte, b' ' | b'-') || !rest.get(offset + 1).is_some_and(u8::is_ascii_alphanumeric) {
            break;
        }
        if number.len() == length {
            break;
        }
    }
    let ends = !text.as_bytes().get(end).is_some_and(u8::is_ascii_alphanumeric);
    (number.len() == length && ends && mod97(&number) == 1).then_some(start..end)
}

fn mod97(number: &[u8]) -> u32 {
    let (head, body) = number.split_at(number.len().min(4));
    body.iter()
        .chain(head)
        .filter_map(|&byte| char::from(byte).to_digit(36))
        .fold(0, |rest, value| (if value > 9 { rest * 100 + value } else { rest * 10 + value }) % 97)
}

fn iban_length(country: [u8; 2]) -> Option<usize> {
    Some(match &country {
        b"NO" => 15,
        b"BE" => 16,
        b"DK" | b"FO" | b"FI" | b"GL" | b"NL" | b"SD" | b"FK" => 18,
        b"MK" | b"SI" => 19,
        b"AT" | b"BA" | b"EE" | b"KZ" | b"LT" | b"LU" | b"XK" | b"MN" => 20,
        b"HR" | b"LV" | b"LI" | b"CH" => 21,
        b"BH" | b"BG" | b"CR" | b"GE" | b"DE" | b"IE" | b"ME" | b"RS" | b"GB" | b"VA" => 22,
        b"TL" | b"GI" | b"IQ" | b"IL" | b"AE" | b"OM" | b"SO" => 23,
        b"AD" | b"CZ" | b"MD" | b"PK" | b"RO" | b"SA" | b"SK" | b"ES" | b"SE" | b"TN" | b"VG" => 24,
        b"LY" | b"PT" | b"ST" => 25,
        b"IS" | b"TR" => 26,
        b"BI" | b"DJ" | b"FR" | b"GR" | b"IT" | b"MR" | b"MC" | b"SM" => 27,
        b"AL" | b"AZ" | b"BY" | b"CY" | b"DO" | b"GT" | b"HU" | b"LB" | b"NI" | b"PL" | b"SV" => 28,
        b"BR" | b"EG" | b"PS" | b"QA" | b"UA" => 29,
        b"JO" | b"KW" | b"MU" | b"YE" => 30,
        b"MT" | b"SC" => 31,
        b"LC" => 32,
        b"RU" => 33,
        _ => return None,
    })
}
