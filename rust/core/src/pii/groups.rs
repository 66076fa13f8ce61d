//! Groups of digits and what stands between them, read once from left to right.
//!
//! A card, a telephone number or an address in dotted form is a row of groups. The row is kept in a window that
//! moves on group by group, so that a text of nothing but short groups costs no more per byte than any other.

use super::byte;

/// No number of interest has more groups than this.
const WINDOW: usize = 12;
/// Groups that have been gone over are dropped when there are this many.
const STALE: usize = 256;

/// What stands between a group and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// Nothing that could join them, or the one before belongs to something else.
    Start,
    Space,
    Dash,
    Dot,
    Slash,
    /// A parenthesis opens or closes, perhaps with a blank or a sign beside it.
    Paren,
    /// A sign with blanks around it.
    Wide,
}

/// Digits in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) gap: Gap,
}

impl Group {
    pub(super) const fn len(&self) -> usize {
        self.end - self.start
    }
}

/// The groups of one text, from left to right.
#[derive(Debug)]
pub(super) struct Groups<'t> {
    bytes: &'t [u8],
    ahead: Vec<Group>,
    head: usize,
    /// Where the next row of groups may begin.
    at: usize,
}

impl<'t> Groups<'t> {
    pub(super) const fn new(bytes: &'t [u8]) -> Self {
        Self { bytes, ahead: Vec::new(), head: 0, at: 0 }
    }

    /// The groups from here on that are joined to each other; empty at the end of the text.
    pub(super) fn window(&mut self) -> &[Group] {
        if self.head >= STALE {
            self.ahead.drain(..self.head);
            self.head = 0;
        }
        if self.ahead.len() == self.head {
            self.ahead.clear();
            self.head = 0;
            let Some(start) = next_digit(self.bytes, self.at) else { return &[] };
            self.push(start, Gap::Start);
        }
        while self.ahead.len() - self.head < WINDOW {
            let Some((gap, start)) = gap_at(self.bytes, self.at) else { break };
            self.push(start, gap);
        }
        self.ahead.get(self.head..).unwrap_or_default()
    }

    fn push(&mut self, start: usize, gap: Gap) {
        let digits = self.bytes.get(start..).unwrap_or_default();
        let end = start + digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        self.ahead.push(Group { start, end, gap });
        self.at = end;
    }

    /// Go on by `count` groups. Where they were something, the next one begins anew.
    pub(super) fn advance(&mut self, count: usize, found: bool) {
        self.head = (self.head + count).min(self.ahead.len());
        if let (true, Some(next)) = (found, self.ahead.get_mut(self.head)) {
            next.gap = Gap::Start;
        }
    }
}

/// Most of a text has no digits; it is passed over in pieces that are looked at as a whole.
fn next_digit(bytes: &[u8], from: usize) -> Option<usize> {
    const PIECE: usize = 32;
    let mut at = from;
    for piece in bytes.get(from..)?.chunks(PIECE) {
        if piece.iter().fold(false, |any, byte| any | byte.is_ascii_digit()) {
            return Some(at + piece.iter().position(u8::is_ascii_digit)?);
        }
        at += piece.len();
    }
    None
}

/// The gap at `at` and the digit after it, if it is one that may join two groups.
fn gap_at(bytes: &[u8], at: usize) -> Option<(Gap, usize)> {
    let next = [byte(bytes, at), byte(bytes, at + 1), byte(bytes, at + 2), byte(bytes, at + 3)];
    let gap = match next {
        [b' ', b'0'..=b'9', ..] => (Gap::Space, 1),
        [b'-', b'0'..=b'9', ..] => (Gap::Dash, 1),
        [b'.', b'0'..=b'9', ..] => (Gap::Dot, 1),
        [b'/', b'0'..=b'9', ..] => (Gap::Slash, 1),
        [b'(' | b')', b'0'..=b'9', ..] => (Gap::Paren, 1),
        [b')', b' ' | b'-' | b'.' | b'/', b'0'..=b'9', _] | [b' ' | b'-' | b'.', b'(', b'0'..=b'9', _] => {
            (Gap::Paren, 2)
        }
        [b' ', b'-' | b'/' | b'.', b' ', b'0'..=b'9'] => (Gap::Wide, 3),
        [b')', b' ', b'(', b'0'..=b'9'] => (Gap::Paren, 3),
        _ => return None,
    };
    Some((gap.0, at + gap.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(text: &str) -> Vec<Vec<usize>> {
        let mut groups = Groups::new(text.as_bytes());
        let mut rows = Vec::new();
        loop {
            let row: Vec<_> = groups.window().iter().map(Group::len).collect();
            if row.is_empty() {
                return rows;
            }
            groups.advance(row.len(), false);
            rows.push(row);
        }
    }

    #[test]
    fn rows_end_where_nothing_joins() {
        assert_eq!(lengths("+49 (0)30 12-34, 5 and 1.2"), [vec![2, 1, 2, 2, 2], vec![1], vec![1, 1]]);
        assert_eq!(lengths("1. 2 – 3 - 4"), [vec![1], vec![1], vec![1, 1]]);
        assert!(lengths("none").is_empty());
    }

    #[test]
    fn a_row_longer_than_the_window_goes_on() {
        let text = "1 ".repeat(1000);
        let mut groups = Groups::new(text.as_bytes());
        let mut count = 0;
        while let Some(group) = groups.window().first().copied() {
            assert_eq!((group.start, group.gap == Gap::Start), (count * 2, count == 0));
            groups.advance(1, false);
            count += 1;
        }
        assert_eq!(count, 1000);
    }
}
