//! Payment cards: an issuer's prefix and length, Luhn's check digit, and a form in which cards are written.

use super::groups::{Gap, Group};
use super::lexicon::{self, Topic};
use super::{Kind, Read, begins, byte, byte_before, digits, is_word};
use crate::finding::Category;

const CARD: Kind = Kind::new("pii.credit_card", Category::CreditCard, 35, 8).by_words();
/// Lengths, the usual ones first: the check digit of a shorter or longer number may be right by accident.
const LENGTHS: [usize; 8] = [16, 15, 14, 19, 18, 17, 13, 12];

/// The card that the row begins with.
pub(super) fn find(text: &str, row: &[Group]) -> Read {
    let first = row.first()?;
    let second = row.get(1).map_or(Gap::Start, |group| group.gap);
    let ungrouped = first.len() >= 12;
    if !ungrouped && !matches!(second, Gap::Space | Gap::Dash | Gap::Dot) || !may_begin(text.as_bytes(), first) {
        return None;
    }
    LENGTHS.iter().find_map(|&length| {
        let count = groups_of(row, second, length)?;
        let last = row.get(count - 1)?;
        let number = text.as_bytes().get(first.start..last.end)?;
        let hit = ends(text.as_bytes(), last.end) && luhn(number) && is_card(text, row.get(..count)?, number);
        hit.then_some((count, Some((first.start..last.end, CARD))))
    })
}

fn may_begin(bytes: &[u8], first: &Group) -> bool {
    // What no issuer begins with is rejected at a glance, and so are rows of single digits.
    let issued = match byte(bytes, first.start) {
        b'2'..=b'6' | b'8' | b'9' => first.len() > 1,
        b'1' => byte(bytes, first.start + 1) == b'8',
        _ => false,
    };
    let joined =
        matches!(byte_before(bytes, first.start, 1), b'-' | b'.') && is_word(byte_before(bytes, first.start, 2));
    issued
        && matches!(first.gap, Gap::Start | Gap::Space | Gap::Slash | Gap::Wide)
        && begins(bytes, first.start)
        && !joined
}

fn ends(bytes: &[u8], end: usize) -> bool {
    let goes_on = matches!(byte(bytes, end), b'.' | b'-') && is_word(byte(bytes, end + 1));
    !is_word(byte(bytes, end)) && !goes_on
}

/// How many groups make up exactly so many digits, all with the same gap between them.
fn groups_of(row: &[Group], gap: Gap, length: usize) -> Option<usize> {
    let mut sum = 0;
    for (index, group) in row.iter().enumerate() {
        if index > 0 && group.gap != gap {
            return None;
        }
        sum += group.len();
        if sum >= length {
            return (sum == length).then_some(index + 1);
        }
    }
    None
}

fn is_card(text: &str, groups: &[Group], number: &[u8]) -> bool {
    let (Some(first), Some(last)) = (groups.first(), groups.last()) else { return false };
    let issuer = issuer(number);
    if issuer == Issuer::None {
        return false;
    }
    let before = lexicon::before(text, first.start);
    let named = || before.says(Topic::Card) || lexicon::after(text, last.end).says(Topic::Card);
    let sure = issuer == Issuer::Sure && is_usual(groups);
    let other = before.is_close() && before.topic.is_some_and(|topic| matches!(topic, Topic::Thing | Topic::Version));
    if sure { !(other && groups.len() == 1) || named() } else { named() }
}

/// Whether the groups are as on the card.
fn is_usual(groups: &[Group]) -> bool {
    let lengths = groups.iter().map(Group::len);
    groups.len() == 1
        || [&[4, 4, 4, 4][..], &[4, 6, 5], &[4, 6, 4], &[4, 4, 4, 4, 3], &[6, 13], &[4, 4, 4, 3]]
            .iter()
            .any(|usual| lengths.clone().eq(usual.iter().copied()))
}

#[derive(PartialEq, Eq)]
enum Issuer {
    Sure,
    /// So wide a range that one number in ten would pass; only next to a word that says card.
    WithContext,
    None,
}

fn issuer(number: &[u8]) -> Issuer {
    let head = |count: usize| digits(number).take(count).fold(0u32, |value, digit| value * 10 + u32::from(digit));
    let length = digits(number).count();
    match (head(2), head(4), length) {
        (40..=49 | 51..=55, _, 16) | (_, 2221..=2720, 16) | (34 | 37, _, 15) => Issuer::Sure,
        (65, _, 16) | (_, 6011 | 6440..=6499, 16) | (_, 3528..=3589, 16) => Issuer::Sure,
        (36 | 38 | 39, _, 14) | (_, 3000..=3059, 14) | (62, _, 16) | (_, 2131 | 1800, 15) => Issuer::Sure,
        (40..=49, _, 13 | 19) | (50 | 56..=69, _, 12..=19) | (35, _, 16..=19) => Issuer::WithContext,
        (_, 2200..=2204 | 9792, 16..=19) | (36, _, 15..=19) | (81 | 82, _, 16..=19) => Issuer::WithContext,
        _ => Issuer::None,
    }
}

/// The check digit of payment cards. A number of one digit only has it by accident.
fn luhn(number: &[u8]) -> bool {
    let odd = digits(number).count() % 2;
    let sum: u32 = digits(number)
        .enumerate()
        .map(|(place, digit)| match u32::from(digit) {
            digit if place % 2 == odd => digit * 2 / 10 + digit * 2 % 10,
            digit => digit,
        })
        .sum();
    let mut all = digits(number);
    let first = all.next();
    sum.is_multiple_of(10) && all.any(|digit| Some(digit) != first)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::string_slice)]
    use super::super::groups::Groups;
    use super::*;

    fn find_in(text: &str) -> Option<&str> {
        let mut groups = Groups::new(text.as_bytes());
        loop {
            let row = groups.window();
            row.first()?;
            if let Some((_, Some((span, _)))) = find(text, row) {
                return Some(&text[span]);
            }
            groups.advance(1, false);
        }
    }

    #[test]
    fn cards_of_all_issuers_in_all_usual_groupings() {
        for card in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "5555.5555.5555.4444",
            "3782 822463 10005",
            "378282246310005",
            "3056 930902 5904",
            "30569309025904",
            "6011 1111 1111 1117",
            "3530 1113 3330 0000",
            "2223003122003222",
            "6212345678901232",
        ] {
            assert_eq!(find_in(&format!("pay 12 {card}, 05/27")), Some(card));
        }
    }

    #[test]
    fn wide_ranges_and_odd_groupings_need_a_word() {
        for card in ["4222222222222", "5018 0000 0009", "411111 1111 111111"] {
            assert_eq!(find_in(&format!("send {card}")), None);
            assert_eq!(find_in(&format!("my card {card}")), Some(card));
        }
    }

    #[test]
    fn other_long_numbers_are_no_cards() {
        for text in [
            "card 4111111111111112",
            "card 41111111111111111",
            "0.4111111111111111",
            "a-4111111111111111",
            "4111-1111 1111-1111",
            "tracking number 4111111111111111",
            "card 0000000000000000",
            "card **** **** **** 1111",
        ] {
            assert_eq!(find_in(text), None, "{text}");
        }
    }
}
