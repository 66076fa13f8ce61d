//! International bank account numbers: a country, its length, and a remainder of 1.

use super::groups::Group;
use super::{Kind, byte, byte_before, is_word};
use crate::finding::Category;
use crate::text::Span;

pub(super) const IBAN: Kind = Kind::new("pii.iban", Category::Iban, 30, 9);
/// The longest of all countries.
const LONGEST: usize = 34;

/// The IBAN whose check digits begin this group, if there is one.
pub(super) fn at(text: &str, group: &Group) -> Option<Span> {
    let bytes = text.as_bytes();
    let start = group.start.checked_sub(2)?;
    let country = [byte(bytes, start).to_ascii_uppercase(), byte(bytes, start + 1).to_ascii_uppercase()];
    if group.len() < 2 || !country.iter().all(u8::is_ascii_uppercase) || is_word(byte_before(bytes, start, 1)) {
        return None;
    }
    let (mut number, mut count, mut end) = ([0; LONGEST], 0, start);
    let length = length(country)?;
    let rest = bytes.get(start..)?;
    for (offset, &next) in rest.iter().enumerate().take(length * 2) {
        if next.is_ascii_alphanumeric() {
            *number.get_mut(count)? = next.to_ascii_uppercase();
            count += 1;
            end = start + offset + 1;
        } else if !matches!(next, b' ' | b'-' | b'.') || !byte(rest, offset + 1).is_ascii_alphanumeric() {
            break;
        }
        if count == length {
            break;
        }
    }
    let number = number.get(..count)?;
    let whole = count == length && !is_word(byte(bytes, end)) && mod97(number) == 1;
    whole.then_some(start..end)
}

fn mod97(number: &[u8]) -> u32 {
    let (head, body) = number.split_at(number.len().min(4));
    body.iter()
        .chain(head)
        .filter_map(|&byte| char::from(byte).to_digit(36))
        .fold(0, |rest, value| (if value > 9 { rest * 100 + value } else { rest * 10 + value }) % 97)
}

fn length(country: [u8; 2]) -> Option<usize> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::string_slice)]
    use super::super::groups::Groups;
    use super::*;

    fn find(text: &str) -> Option<&str> {
        let mut groups = Groups::new(text.as_bytes());
        while let Some(group) = groups.window().first().copied() {
            if let Some(span) = at(text, &group) {
                return Some(&text[span]);
            }
            groups.advance(1, false);
        }
        None
    }

    #[test]
    fn any_spelling_is_read_and_nothing_beyond_the_end() {
        for iban in [
            "DE89 3704 0044 0532 0130 00",
            "de89370400440532013000",
            "GB82WEST12345698765432",
            "GB82-WEST-1234-5698-7654-32",
            "NO93 8601 1117 947",
            "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
        ] {
            assert_eq!(find(&format!("to {iban} now")), Some(iban));
            assert_eq!(find(&format!("(IBAN:{iban}).")), Some(iban));
        }
    }

    #[test]
    fn what_does_not_add_up_is_none() {
        for text in
            ["DE88 3704 0044 0532 0130 00", "xDE89370400440532013000", "DE89370400440532013000x", "DE89 3704 0044"]
        {
            assert_eq!(find(text), None, "{text}");
        }
    }
}
