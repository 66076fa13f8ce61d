//! Finding any of some dozens of short texts, in one pass that looks at next to nothing but the text.
//!
//! An automaton of all of them waits for memory at every byte, since the next state is where the last one says, and
//! its states fill the nearest cache. So one number is kept while the text goes by: sixteen groups of needles, and for
//! each of the last four bytes which groups have needles that begin like this. Only where a whole beginning stands is
//! the automaton asked.

use std::collections::BTreeSet;

use aho_corasick::automaton::Automaton;
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, BuildError, StartKind};

use crate::text::Span;

/// Bytes of a needle that are looked at first, and groups that needles are in: a bit for each group and place.
const PLACES: usize = 4;
const GROUPS: usize = 16;
/// Bytes that are gone by together: hardly any of them ends a whole beginning.
const CHUNK: usize = 8;
/// The bits of the first place, and where those of the last begin.
const FIRST: u64 = (1 << GROUPS) - 1;
const LAST: usize = GROUPS * (PLACES - 1);

/// So many bytes stand where a needle has none.
const ANY: usize = 256;

/// Texts to be found, in any case of ASCII letters.
#[derive(Debug)]
pub(crate) struct Needles {
    /// For each byte the groups and the places in which it may stand.
    may_stand: Box<[u64; 256]>,
    /// The same for what is no more: a needle may be shorter than [`PLACES`].
    may_end: u64,
    /// Goes on from a beginning.
    automaton: DFA,
}

impl Needles {
    /// Compile needles; their indexes are what [`Needles::find`] names. None is empty.
    pub(crate) fn new(needles: &[&str]) -> Result<Self, BuildError> {
        let automaton = DFA::builder().start_kind(StartKind::Anchored).ascii_case_insensitive(true).build(needles)?;
        let (mut may_stand, mut may_end) = (Box::new([0; 256]), 0);
        for (group, places) in grouped(needles).iter().enumerate() {
            for (place, bytes) in places.iter().enumerate() {
                let bit = 1u64 << (place * GROUPS + group);
                may_end |= if bytes.len() == ANY { bit } else { 0 };
                for (byte, groups) in (0..=u8::MAX).zip(may_stand.iter_mut()) {
                    *groups |= if bytes.contains(&byte.to_ascii_lowercase()) { bit } else { 0 };
                }
            }
        }
        Ok(Self { may_stand, may_end, automaton })
    }

    /// Report every place of every needle, in the order of their ends, of two with the same end the longer one first.
    #[inline]
    pub(crate) fn find(&self, text: &str, mut found: impl FnMut(usize, Span)) {
        let mut waiting = Waiting::default();
        let mut begun = 0;
        let (chunks, rest) = text.as_bytes().as_chunks::<CHUNK>();
        for (index, chunk) in chunks.iter().enumerate() {
            let before = begun;
            let mut any = 0;
            for &byte in chunk {
                begun = self.go_by(begun, byte);
                any |= begun;
            }
            if any >> LAST != 0 {
                self.look_again(before, text, index * CHUNK, chunk, &mut waiting, &mut found);
            }
        }
        self.look_again(begun, text, chunks.len() * CHUNK, rest, &mut waiting, &mut found);
        begun = rest.iter().fold(begun, |begun, &byte| self.go_by(begun, byte));
        for end in text.len() + 1..text.len() + PLACES {
            begun = begun << GROUPS & self.may_end;
            if begun >> LAST != 0 {
                self.go_on(text, end - PLACES, &mut waiting, &mut found);
            }
        }
        waiting.report(usize::MAX, &mut found);
    }

    /// Which groups have needles that begin like the last bytes, with this one.
    #[inline]
    fn go_by(&self, begun: u64, byte: u8) -> u64 {
        (begun << GROUPS | FIRST) & self.may_stand.get(usize::from(byte)).copied().unwrap_or_default()
    }

    /// Go through the few bytes from `at` on, which may hold the end of a whole beginning.
    fn look_again(
        &self,
        mut begun: u64,
        text: &str,
        at: usize,
        bytes: &[u8],
        waiting: &mut Waiting,
        found: &mut impl FnMut(usize, Span),
    ) {
        for (end, &byte) in (at + 1..).zip(bytes) {
            begun = self.go_by(begun, byte);
            if begun >> LAST != 0 {
                self.go_on(text, end - PLACES, waiting, found);
            }
        }
    }

    /// Note all needles that begin at `start`.
    #[inline(never)]
    fn go_on(&self, text: &str, start: usize, waiting: &mut Waiting, found: &mut impl FnMut(usize, Span)) {
        waiting.report(start, found);
        let Ok(mut state) = self.automaton.start_state(Anchored::Yes) else { return };
        for (end, &byte) in (start + 1..).zip(text.as_bytes().get(start..).unwrap_or_default()) {
            state = self.automaton.next_state(Anchored::Yes, state, byte);
            if self.automaton.is_dead(state) {
                break;
            }
            if self.automaton.is_match(state) {
                for needle in (0..self.automaton.match_len(state)).map(|at| self.automaton.match_pattern(state, at)) {
                    // Needles that others end with are found where they begin.
                    if self.automaton.pattern_len(needle) == end - start {
                        waiting.0.push((end, start, needle.as_usize()));
                    }
                }
            }
        }
    }
}

/// Groups of needles: for each the bytes that stand in each place, in lower case. The fewer there are, the fewer other
/// texts pass; so each needle goes to the group that gets the least new ones.
fn grouped(needles: &[&str]) -> Vec<[BTreeSet<u8>; PLACES]> {
    let mut groups = vec![[const { BTreeSet::new() }; PLACES]; GROUPS];
    let passing = |places: &[BTreeSet<u8>; PLACES]| places.iter().map(|bytes| bytes.len().min(64)).product::<usize>();
    let mut sorted: Vec<String> = needles.iter().map(|needle| needle.to_ascii_lowercase()).collect();
    sorted.sort_unstable();
    for needle in &sorted {
        let with = |places: &[BTreeSet<u8>; PLACES]| {
            let mut places = places.clone();
            for (place, bytes) in places.iter_mut().enumerate() {
                match needle.as_bytes().get(place) {
                    Some(&byte) => bytes.extend([byte]),
                    None => bytes.extend(0..=u8::MAX),
                }
            }
            places
        };
        let more = |places: &&mut [BTreeSet<u8>; PLACES]| passing(&with(places)) - passing(places);
        if let Some(best) = groups.iter_mut().min_by_key(more) {
            *best = with(best);
        }
    }
    groups
}

/// Finds that another one may come before: their ends, starts and needles.
#[derive(Default)]
struct Waiting(Vec<(usize, usize, usize)>);

impl Waiting {
    /// Report those that end where `start` is or before; all that are found from now on end behind it.
    #[inline]
    fn report(&mut self, start: usize, found: &mut impl FnMut(usize, Span)) {
        match *self.0 {
            [] => return,
            [(end, from, needle)] => {
                if end <= start {
                    self.0.clear();
                    found(needle, from..end);
                }
                return;
            }
            _ => self.0.sort_unstable(),
        }
        let ready = self.0.partition_point(|&(end, ..)| end <= start);
        self.0.drain(..ready).for_each(|(end, start, needle)| found(needle, start..end));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1_000))]
        #[test]
        fn every_needle_is_found_wherever_it_stands(
            needles in proptest::collection::vec("[abC忽]{1,6}", 1..24),
            text in "[abcABé忽]{0,40}",
        ) {
            let needles: Vec<&str> = needles.iter().map(String::as_str).collect();
            let mut found = Vec::new();
            Needles::new(&needles).unwrap().find(&text, |needle, place| found.push((place.end, place.start, needle)));
            let mut expected = Vec::new();
            for (index, needle) in needles.iter().enumerate() {
                let is_there = |&start: &usize| {
                    let place = text.as_bytes().get(start..start + needle.len());
                    place.is_some_and(|place| place.eq_ignore_ascii_case(needle.as_bytes()))
                };
                expected.extend((0..text.len()).filter(is_there).map(|start| (start + needle.len(), start, index)));
            }
            expected.sort_unstable();
            proptest::prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn nothing_is_found_by_nothing() {
        let mut found = 0;
        Needles::new(&[]).unwrap().find("some text", |_, _| found += 1);
        assert_eq!(found, 0);
    }
}
