//! Telephone numbers: by number plan where the form is telling, by the words around where it is not.

use super::groups::{Gap, Group};
use super::lexicon::{self, Topic};
use super::{Kind, Read, begins, byte, byte_before, digits, is_word};
use crate::finding::Category;
use crate::text::Span;

const PHONE: Kind = Kind::new("pii.phone", Category::Phone, 12, 4);
const PHONE_IN_CONTEXT: Kind = Kind::new("pii.phone_in_context", Category::Phone, 12, 3).by_words();

/// How much a form says by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// With a country code: nothing else looks like this.
    International,
    /// As numbers are written in some country; the word before may say that it is something else.
    National,
    /// Could be anything.
    Plain,
}

/// The telephone number that the row begins with.
pub(super) fn find(text: &str, row: &[Group]) -> Read {
    if let Some(count) = date(text.as_bytes(), row) {
        return Some((count, None));
    }
    let forms = [
        (Form::International, international(text.as_bytes(), row)),
        (Form::National, north_american(text.as_bytes(), row)),
        (Form::National, area_in_parentheses(text.as_bytes(), row)),
        (Form::National, trunk_zero(text.as_bytes(), row)),
        (Form::National, service(text.as_bytes(), row)),
        (Form::Plain, plain(text.as_bytes(), row)),
    ];
    forms.into_iter().find_map(|(form, count)| {
        let count = count?;
        let span = span(text.as_bytes(), row.get(..count)?)?;
        let end = ends(text.as_bytes(), span.end)?;
        let kind = judge(text, &span, form)?;
        Some((count, Some((span.start..end, kind))))
    })
}

/// From the sign or parenthesis before the first group to the end of the last.
fn span(bytes: &[u8], groups: &[Group]) -> Option<Span> {
    let (mut start, end) = (groups.first()?.start, groups.last()?.end);
    if byte_before(bytes, start, 1) == b'+' {
        start -= 1;
    }
    let inside = bytes.get(start..end)?;
    let count = |sign: u8| inside.iter().filter(|byte| **byte == sign).count();
    if count(b')') > count(b'(') && byte_before(bytes, start, 1) == b'(' {
        start -= 1;
    }
    let closes = count(b'(') > count(b')') && byte(bytes, end) == b')';
    Some(start..end + usize::from(closes))
}

/// Where a number that may end at `end` does end, its extension included; `None` if it goes on.
fn ends(bytes: &[u8], end: usize) -> Option<usize> {
    let rest = bytes.get(end..)?;
    if let Some(length) = extension(rest) {
        return Some(end + length);
    }
    let (next, next2) = (byte(bytes, end), byte(bytes, end + 1));
    let goes_on = is_word(next)
        || matches!(next, b'.' | b'-' | b':' | b'/' | b',') && next2.is_ascii_digit()
        || matches!(next, b'@' | b'%')
        || next == b'.' && next2.is_ascii_lowercase()
        || next == b'-' && next2.is_ascii_alphabetic() && !is_label(rest.get(1..)?);
    (!goes_on).then_some(end)
}

fn is_label(rest: &[u8]) -> bool {
    [&b"office"[..], b"fax", b"mobile", b"home", b"cell", b"work", b"phone"]
        .iter()
        .any(|label| rest.get(..label.len()).is_some_and(|head| head.eq_ignore_ascii_case(label)))
}

/// The length of ` ext. 123` and its like.
fn extension(rest: &[u8]) -> Option<usize> {
    let skip = |at: usize, accept: fn(&u8) -> bool, most: usize| {
        at + rest.get(at..).unwrap_or_default().iter().take(most).take_while(|byte| accept(byte)).count()
    };
    let word = skip(0, |byte| matches!(byte, b' ' | b','), 2);
    let tail = rest.get(word..)?;
    let words = [&b"extension"[..], b"ext", b"x", b"durchwahl", b"dw", b"poste", b"#"];
    let name = words.iter().find(|name| tail.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name)))?;
    let number = skip(word + name.len(), |byte| matches!(byte, b' ' | b'.' | b':'), 2);
    let end = skip(number, u8::is_ascii_digit, 6);
    (end > number && !is_word(byte(rest, end))).then_some(end)
}

fn judge(text: &str, span: &Span, form: Form) -> Option<Kind> {
    let bytes = text.as_bytes();
    let (last, last2) = (byte_before(bytes, span.start, 1), byte_before(bytes, span.start, 2));
    if !begins(bytes, span.start) || matches!(last, b'#' | b'$' | b'@' | b'%') {
        return None;
    }
    let currency = text.get(..span.start)?.chars().next_back().is_some_and(|c| "€£¥₹№§".contains(c));
    let joined = matches!(last, b'-' | b'/' | b'.' | b',' | b':') && last2.is_ascii_digit()
        || matches!(last, b'-' | b'/' | b'.')
            && is_word(last2)
            && !lexicon::before(text, span.start).says(Topic::Phone);
    if currency || joined && form != Form::International {
        return None;
    }
    if form == Form::International {
        return Some(PHONE);
    }
    if lexicon::counts(text, span.end) {
        return None;
    }
    let before = lexicon::before(text, span.start);
    let after = || lexicon::after(text, span.end).says(Topic::Phone);
    let other = match before.topic {
        Some(Topic::Account) => before.is_close() && before.distance == 0,
        Some(Topic::Phone) | None => false,
        Some(_) => before.is_close() && before.distance < 2,
    };
    match before.topic {
        Some(Topic::Phone) if form == Form::National => Some(PHONE),
        // Where another number stands between, nothing but `and` may.
        Some(Topic::Phone) if !before.crossed || before.distance == 0 => Some(PHONE_IN_CONTEXT),
        _ if form == Form::National => (!other || after()).then_some(PHONE),
        Some(_) if before.is_close() => None,
        _ if matches!(last, b'-' | b'.' | b'=') => None,
        _ => after().then_some(PHONE_IN_CONTEXT),
    }
}

fn group<'t>(bytes: &'t [u8], row: &[Group], index: usize) -> &'t [u8] {
    row.get(index).and_then(|group| bytes.get(group.start..group.end)).unwrap_or_default()
}

/// Lengths and gaps of the first groups.
fn lengths(row: &[Group], count: usize) -> impl Iterator<Item = usize> {
    row.iter().take(count).map(Group::len)
}

/// `+` or `00`, a country code, and as many digits as numbers of that country have.
fn international(bytes: &[u8], row: &[Group]) -> Option<usize> {
    let first = row.first()?;
    let plus = byte_before(bytes, first.start, 1) == b'+';
    let skip = match group(bytes, row, 0) {
        _ if plus => 0,
        b"00" | b"011" if first.gap == Gap::Start => first.len(),
        [b'0', b'0', b'1'..=b'9', ..] if first.gap == Gap::Start && (row.len() > 1 || first.len() > 11) => 2,
        _ => return None,
    };
    let sign = first.start - usize::from(plus);
    if !begins(bytes, sign) || byte_before(bytes, sign, 1) == b'+' {
        return None;
    }
    let window = bytes.get(first.start..row.last()?.end)?;
    let mut number = digits(window.get(..window.len().min(48))?).skip(skip);
    let code = country_code(&mut number)?;
    let (least, most) = national_digits(code);
    let code = code.checked_ilog10()? as usize + 1;
    // `(0)` is dialled at home only, and a zero that should have gone is often left.
    let trunk = usize::from(number.next() == Some(0));
    let (mut sum, mut best, mut any) = (0, None, None);
    for (index, next) in row.iter().enumerate() {
        if index > 0 && next.gap == Gap::Wide && sum >= skip + code + least {
            break;
        }
        if next.len() == 1 && next.gap == Gap::Space && best.is_some() {
            break;
        }
        sum += next.len();
        let national = sum.saturating_sub(skip + code);
        if national > most + trunk || next.len() > 15 {
            break;
        }
        any = (national >= 6 && (index > 1 || national >= 8)).then_some(index + 1).or(any);
        best = (national >= least).then_some(index + 1).or(best);
    }
    best.or(any)
}

fn country_code(number: &mut impl Iterator<Item = u8>) -> Option<u32> {
    let mut code = u32::from(number.next().filter(|digit| *digit > 0)?);
    if matches!(code, 1 | 7) {
        return Some(code);
    }
    code = code * 10 + u32::from(number.next()?);
    let two = matches!(code, 20 | 27 | 30..=34 | 36 | 39..=41 | 43..=49 | 51..=58 | 60..=66 | 81 | 82 | 84 | 86 | 90..=95 | 98);
    if two { Some(code) } else { Some(code * 10 + u32::from(number.next()?)) }
}

/// The least and the most digits after a country code.
const fn national_digits(code: u32) -> (usize, usize) {
    match code {
        1 => (10, 10),
        7 | 20 | 52 | 57 | 63 | 64 | 90 | 91 | 92 | 98 => (9, 10),
        33 | 34 | 27 | 48 | 61 | 351 | 380 | 420 | 421 | 213 | 971 | 972 | 966 => (8, 9),
        31 | 32 | 36 | 40 | 41 | 51 | 56 | 66 | 94 | 353 | 212 => (8, 9),
        45 | 47 | 65 | 852 | 853 | 506 | 507 => (8, 8),
        44 | 82 | 84 | 60 | 81 | 30 | 234 | 254 => (9, 10),
        46 | 358 => (7, 10),
        39 => (8, 11),
        55 | 54 | 86 => (9, 11),
        _ => (7, 12),
    }
}

/// `(415) 555-2671`, `415-555-2671`, `1.415.555.2671`.
fn north_american(bytes: &[u8], row: &[Group]) -> Option<usize> {
    let skip = usize::from(group(bytes, row, 0) == b"1");
    let rest = row.get(skip..)?;
    let first = rest.first()?;
    let area = group(bytes, rest, 0);
    let gap = |index: usize| rest.get(index).map(|group| group.gap);
    let in_parentheses = gap(1) == Some(Gap::Paren) && byte_before(bytes, first.start, 1) == b'(';
    if !in_parentheses && (area < &b"200"[..] || !matches!(row.first()?.gap, Gap::Start | Gap::Space)) {
        return None;
    }
    if lengths(rest, 3).eq([3, 3, 4]) {
        let sign = |gap: Option<Gap>| matches!(gap, Some(Gap::Dash | Gap::Dot | Gap::Space | Gap::Wide));
        let joined = (in_parentheses || sign(gap(1)) || gap(1) == Some(Gap::Slash)) && sign(gap(2));
        // A decimal point is not the only dot of a number.
        let mixed = gap(1) == Some(Gap::Space) && gap(2) == Some(Gap::Dot);
        return (joined && !mixed).then_some(skip + 3);
    }
    (in_parentheses && lengths(rest, 2).eq([3, 7])).then_some(skip + 2)
}

/// `(021) 0025-967`, `(11) 91234-5678`.
fn area_in_parentheses(bytes: &[u8], row: &[Group]) -> Option<usize> {
    let first = row.first()?;
    let opened = byte_before(bytes, first.start, 1) == b'(' && row.get(1).is_some_and(|group| group.gap == Gap::Paren);
    if !opened || first.len() > 5 || group(bytes, row, 0) >= &b"19"[..] && first.len() == 4 {
        return None;
    }
    longest(row, 8..=12, 5)
}

/// The most groups, of two digits and more each, that have so many digits together.
fn longest(row: &[Group], digits: std::ops::RangeInclusive<usize>, most: usize) -> Option<usize> {
    let (mut sum, mut best) = (0, None);
    for (index, group) in row.iter().enumerate().take(most) {
        if index > 0 && (group.len() < 2 || group.gap == Gap::Wide && index > 1) {
            break;
        }
        sum += group.len();
        best = (index > 0 && digits.contains(&sum)).then_some(index + 1).or(best);
    }
    best
}

/// A national number that begins with the zero that is dialled before area codes.
fn trunk_zero(bytes: &[u8], row: &[Group]) -> Option<usize> {
    let first = row.first()?;
    let zero = matches!(group(bytes, row, 0), [b'0', b'1'..=b'9', ..]) && first.len() <= 6 && first.gap == Gap::Start;
    let dotted = row.get(1).is_some_and(|group| group.gap == Gap::Dot);
    if !zero
        || dotted
            && !lengths(row, 5).eq([2, 2, 2, 2, 2])
            && !lengths(row, 3).eq([3, 3, 4])
            && !lengths(row, 4).eq([4, 2, 2, 2])
    {
        return None;
    }
    longest(row, 9..=12, 6)
}

/// `8 (495) 123-45-67`, `8-800-555-35-35`, `1800 123 456`.
fn service(bytes: &[u8], row: &[Group]) -> Option<usize> {
    let begins_with =
        |written: &[u8]| group(bytes, row, 0) == written && row.first().is_some_and(|first| first.gap == Gap::Start);
    if begins_with(b"8") && lengths(row, 5).skip(1).eq([3, 3, 2, 2]) {
        return Some(5);
    }
    let free = begins_with(b"1800") || begins_with(b"1300") || begins_with(b"0800");
    (free && lengths(row, 3).skip(1).eq([3, 3])).then_some(3)
}

/// Anything that has as many digits as a telephone number.
fn plain(bytes: &[u8], row: &[Group]) -> Option<usize> {
    let first = row.first()?;
    let gap = row.get(1).map_or(Gap::Start, |group| group.gap);
    if first.gap != Gap::Start || gap == Gap::Dot && row.len() < 3 {
        return None;
    }
    let (mut sum, mut best) = (0, None);
    for (index, next) in row.iter().enumerate().take(7) {
        let other = index > 1 && next.gap != gap && gap != Gap::Paren && sum >= 7;
        if other || next.gap == Gap::Wide && sum >= 6 || index > 0 && next.len() < 2 && sum >= 6 {
            break;
        }
        sum += next.len();
        best = (6..=12).contains(&sum).then_some(index + 1).or(best);
    }
    best.filter(|count| !is_stamp(bytes, row, *count))
}

/// A day written in one (`20240511`), or two years.
fn is_stamp(bytes: &[u8], row: &[Group], count: usize) -> bool {
    let year = |written: Option<&[u8]>| written.and_then(number).is_some_and(is_year);
    let part = |from: usize, to: usize| group(bytes, row, 0).get(from..to).and_then(number);
    let day = || {
        part(4, 6).is_some_and(|month| (1..=12).contains(&month))
            && part(6, 8).is_some_and(|day| (1..=31).contains(&day))
    };
    count == 1 && row.first().is_some_and(|group| group.len() == 8) && year(group(bytes, row, 0).get(..4)) && day()
        || count == 2
            && lengths(row, 2).eq([4, 4])
            && year(Some(group(bytes, row, 0)))
            && year(Some(group(bytes, row, 1)))
}

const fn is_year(number: u32) -> bool {
    number >= 1900 && number <= 2100
}

fn number(written: &[u8]) -> Option<u32> {
    (!written.is_empty() && written.len() <= 6)
        .then(|| digits(written).fold(0, |value, digit| value * 10 + u32::from(digit)))
}

/// How many groups at the beginning of the row are a date.
fn date(bytes: &[u8], row: &[Group]) -> Option<usize> {
    let gap = row.get(1)?.gap;
    let month = |index: usize| number(group(bytes, row, index)).is_some_and(|month| (1..=12).contains(&month));
    let year = group(bytes, row, 1);
    let is_month = row.first()?.len() <= 2 && month(0) && year.len() == 4 && number(year).is_some_and(is_year);
    if gap == Gap::Slash && is_month && row.get(2).is_none_or(|next| next.gap != Gap::Slash) {
        return Some(2);
    }
    let plain = matches!(gap, Gap::Dash | Gap::Slash | Gap::Dot) && row.get(2)?.gap == gap;
    let value = |index: usize| number(group(bytes, row, index));
    let [first, second, third] = [value(0)?, value(1)?, value(2)?];
    let short = |index: usize| row.get(index).is_some_and(|group| group.len() <= 2);
    let day_and_month = |a: u32, b: u32| (1..=31).contains(&a) && (1..=31).contains(&b) && (a <= 12 || b <= 12);
    let year_first = is_year(first) && short(1) && short(2) && day_and_month(second, third);
    let year_last = (is_year(third) || short(2)) && short(0) && short(1) && day_and_month(first, second);
    let ends = row.get(3).is_none_or(|group| group.gap != gap);
    (plain && ends && (year_first || year_last)).then_some(3)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::string_slice)]
    use super::super::groups::Groups;
    use super::*;

    fn finds(text: &str) -> Vec<&str> {
        let (mut found, mut groups) = (Vec::new(), Groups::new(text.as_bytes()));
        loop {
            let row = groups.window();
            if row.is_empty() {
                return found;
            }
            match find(text, row) {
                Some((count, hit)) => {
                    found.extend(hit.map(|(span, _)| &text[span]));
                    groups.advance(count, true);
                }
                None => groups.advance(1, false),
            }
        }
    }

    #[test]
    fn telling_forms_need_no_words() {
        for number in [
            "+44 20 7946 0958",
            "+49 (0)30 901820",
            "+49 30/901820",
            "+1-448-414-3381x060",
            "+33 1 71 78 63 39",
            "(+44) 20 7946 0958",
            "+7 (495) 123-45-67",
            "+86 138 0013 8000",
            "+91 98765 43210",
            "+4915112345678",
            "+1 (415) 555-2671 ext. 12",
            "+353 1 234 5678",
            "0044 20 7946 0958",
            "001-755-329-4431",
            "(415) 555-2671",
            "(505)498-8487x6837",
            "415-555-2671",
            "415.555.2671",
            "415 555 2671",
            "1-415-555-2671",
            "(021) 0025-967",
            "(37) 788-063",
            "(11) 91234-5678",
            "020 7946 0958",
            "0151 12345678",
            "06-10446904",
            "030/901820",
            "01 71 78 63 39",
            "01.71.78.63.39",
            "090-1234-5678",
            "8 (495) 123-45-67",
            "8-800-555-35-35",
            "0660 565 36 45",
        ] {
            for frame in ["is {}.", "{}", "({})", "to:{},", "\"{}\"", "1, {} 5"] {
                let text = frame.replace("{}", number);
                if number.ends_with("25-967") && frame.ends_with('5') {
                    continue;
                }
                assert_eq!(finds(&text), [number], "{text}");
            }
        }
    }

    #[test]
    fn other_forms_need_a_word() {
        for number in [
            "9747 6578",
            "329 7730",
            "25-62-29-72",
            "975 97 287",
            "4155552671",
            "516 466 638",
            "96 237271",
            "13800138000",
        ] {
            assert!(finds(&format!("it is {number} now")).is_empty(), "{number}");
            for frame in ["tel. {}.", "call me at {}", "{} is my mobile", "Телефон: {}", "电话：{}", "{}-Fax\\,"]
            {
                let text = frame.replace("{}", number);
                assert_eq!(finds(&text), [number], "{text}");
            }
        }
    }

    #[test]
    fn numbers_of_other_things_are_none() {
        for text in [
            "call on 12-05-2024",
            "call on 2024-05-12 10:30",
            "tel 20240512",
            "phone order 415-555-2671",
            "invoice no. 020 7946 0958",
            "1,415-555-2671",
            "415-555-2671-22",
            "$415 555 2671",
            "x415-555-2671",
            "415-555-2671@example.com",
            "+1,000,000,000",
            "a+123456789",
            "UTC+0100",
            "call 1234",
            "call papers 2019-2024",
            "between 08/2022-09/2022",
            "function call 1234567890",
            "550e8400-e29b-41d4-a716-446655440000",
            "52.368279, 13.162304",
            "10 000 000 people",
            "978-3-16-148410-1",
            "165-875-111",
        ] {
            assert!(finds(text).is_empty(), "{text}");
        }
    }
}
