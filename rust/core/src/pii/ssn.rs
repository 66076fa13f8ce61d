//! Social security numbers of the United States.

use super::groups::{Gap, Group};
use super::lexicon::{self, Topic};
use super::{Kind, Read, begins, byte, byte_before, digits, is_word};
use crate::finding::Category;

const SSN: Kind = Kind::new("pii.ssn", Category::Ssn, 35, 7).by_words();

/// The social security number that the row begins with.
pub(super) fn find(text: &str, row: &[Group]) -> Read {
    let lengths = |count: usize| row.iter().take(count).map(Group::len);
    let bytes = text.as_bytes();
    let (count, gap) = if lengths(3).eq([3, 2, 4]) {
        (3, row.get(1)?.gap)
    } else if lengths(1).eq([9]) {
        (1, Gap::Start)
    } else {
        return None;
    };
    let (first, last) = (row.first()?, row.get(count - 1)?);
    let alike = count == 1 || matches!(gap, Gap::Dash | Gap::Space | Gap::Dot | Gap::Wide) && last.gap == gap;
    if !alike || !matches!(first.gap, Gap::Start | Gap::Space) || !stands_alone(bytes, first.start, last.end) {
        return None;
    }
    let before = lexicon::before(text, first.start);
    let hit = is_assigned(bytes.get(first.start..last.end)?)
        && if gap == Gap::Dash {
            !(before.is_close() && before.distance == 0 && before.says(Topic::Thing))
        } else {
            before.says(Topic::Ssn) || before.topic.is_none() && lexicon::after(text, last.end).says(Topic::Ssn)
        };
    if hit {
        return Some((count, Some((first.start..last.end, SSN))));
    }
    // The form of a social security number, valid or not, is no telephone number.
    (count == 3).then_some((count, None))
}

fn stands_alone(bytes: &[u8], start: usize, end: usize) -> bool {
    let sign = |byte: u8| matches!(byte, b'.' | b'-' | b'/');
    let before = sign(byte_before(bytes, start, 1)) && is_word(byte_before(bytes, start, 2));
    let after = matches!(byte(bytes, end), b'.' | b'-' | b'/' | b',') && byte(bytes, end + 1).is_ascii_digit();
    begins(bytes, start) && !is_word(byte(bytes, end)) && !before && !after && byte_before(bytes, start, 1) != b'$'
}

fn is_assigned(written: &[u8]) -> bool {
    let number = digits(written).fold(0u32, |value, digit| value * 10 + u32::from(digit));
    let (area, group, serial) = (number / 1_000_000, number / 10_000 % 100, number % 10_000);
    area != 0 && area != 666 && area < 900 && group != 0 && serial != 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::string_slice)]
    use super::super::groups::Groups;
    use super::*;

    fn finds(text: &str) -> bool {
        let mut groups = Groups::new(text.as_bytes());
        loop {
            let row = groups.window();
            if row.is_empty() {
                return false;
            }
            if matches!(find(text, row), Some((_, Some(_)))) {
                return true;
            }
            groups.advance(1, false);
        }
    }

    #[test]
    fn dashes_suffice_and_other_forms_need_a_word() {
        assert!(
            finds("for 219-09-9999, please") && finds("SSN: 219 09 9999") && finds("social security no. 219099999")
        );
        assert!(finds("219099999 is my ssn") && finds("ssn=219.09.9999"));
        assert!(!finds("for 219 09 9999, please") && !finds("219099999") && !finds("order 219099999 on social media"));
    }

    #[test]
    fn numbers_never_assigned_and_parts_of_others_are_none() {
        for text in ["ssn 000-12-3456", "ssn 666-12-3456", "ssn 900-12-3456", "ssn 219-00-9999", "ssn 219-09-0000"] {
            assert!(!finds(text), "{text}");
        }
        for text in ["1-219-09-9999", "219-09-9999-1", "A-219-09-9999", "part no. 219-09-9999", "219-09 9999"] {
            assert!(!finds(text), "{text}");
        }
    }
}
