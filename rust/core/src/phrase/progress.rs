//! How far each phrase has come: what finding a word does.

use std::collections::BTreeMap;

use super::Hit;
use crate::text::Span;

/// Room for so many steps is taken at once.
const USUALLY_REACHED: usize = 32;

/// What finding a word does for one phrase.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    pub(super) phrase: u32,
    /// Index of its step among all steps of all phrases.
    pub(super) step: u32,
    pub(super) gap: u32,
    pub(super) first: bool,
    pub(super) last: bool,
    pub(super) open_start: bool,
    pub(super) open_end: bool,
}

/// For each word of a set, its uses.
#[derive(Debug, Default)]
pub(super) struct Table {
    uses: Vec<Use>,
    /// The uses of a word are those from the first number up to the second.
    words: Vec<(u32, u32)>,
}

impl Table {
    /// The uses that `keep` accepts, and the words that have any. A use comes with whether its word is squeezed.
    pub(super) fn new(
        words: &BTreeMap<String, Vec<(bool, Use)>>,
        keep: impl Fn(bool, &Use) -> bool,
    ) -> (Vec<&str>, Self) {
        let (mut kept, mut table) = (Vec::new(), Self::default());
        for (word, uses) in words {
            let from = table.uses.len();
            table.uses.extend(uses.iter().filter(|(squeezed, used)| keep(*squeezed, used)).map(|(_, used)| *used));
            let Some(uses @ [_, ..]) = table.uses.get_mut(from..) else { continue };
            // Later steps first: a word must not take the step before it away from itself.
            uses.sort_by_key(|used| std::cmp::Reverse(used.step));
            table.words.push((from as u32, table.uses.len() as u32));
            kept.push(word.as_str());
        }
        (kept, table)
    }

    fn uses(&self, word: usize) -> &[Use] {
        let (from, to) = self.words.get(word).copied().unwrap_or_default();
        self.uses.get(from as usize..to as usize).unwrap_or_default()
    }
}

/// How far each phrase has come in a text.
#[derive(Debug)]
pub(super) struct Progress {
    /// For each step the number of its entry, counted from 1, or 0 for none: hardly any step of a large set is reached,
    /// and every reading starts with a fresh table.
    entries: Vec<u32>,
    reached: Vec<Reached>,
}

/// Where a step was last reached: where its phrase begins, and where the step ends. The one before is kept as well,
/// for words that share letters (`ai`, `ai agent`): the newest may end beyond the start of what follows. An end of 0
/// is none.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    newest: (u32, u32),
    older: (u32, u32),
}

impl Progress {
    pub(super) fn new(steps: usize) -> Self {
        Self { entries: vec![0; steps], reached: Vec::with_capacity(steps.min(USUALLY_REACHED)) }
    }

    /// Go on with every phrase for which the word at `place` is its next step.
    #[inline]
    pub(super) fn advance(
        &mut self,
        table: &Table,
        word: usize,
        place: &Span,
        stands: impl Fn(&Use) -> bool,
        found: &mut impl FnMut(Hit),
    ) {
        for used in table.uses(word).iter().filter(|used| stands(used)) {
            let begun = if used.first { Some(place.start) } else { self.follows(used, place.start) };
            let Some(begun) = begun else { continue };
            if used.last {
                found(Hit { phrase: used.phrase as usize, span: begun..place.end });
            } else if let Some(reached) = self.entry(used.step) {
                reached.set(begun, place.end);
            }
        }
    }

    /// The entry of a step, a new one where there is none.
    fn entry(&mut self, step: u32) -> Option<&mut Reached> {
        let entry = self.entries.get_mut(step as usize)?;
        if *entry == 0 {
            self.reached.push(Reached::default());
            *entry = self.reached.len() as u32;
        }
        self.reached.get_mut(*entry as usize - 1)
    }

    /// Where the phrase began, if its step before `used` ended near enough before `start`.
    #[inline]
    fn follows(&self, used: &Use, start: usize) -> Option<usize> {
        let entry = *self.entries.get(used.step.checked_sub(1)? as usize)?;
        let before = self.reached.get(entry.checked_sub(1)? as usize)?;
        let start = u32::try_from(start).ok()?;
        let near = |&(_, end): &(u32, u32)| end > 0 && end <= start && start - end <= used.gap;
        Some(before.newest).filter(near).or(Some(before.older).filter(near)).map(|(begun, _)| begun as usize)
    }
}

impl Reached {
    fn set(&mut self, begun: usize, end: usize) {
        // Offsets are small here: `follows` gives nothing beyond 4 GiB, and no text is that long.
        let (Ok(begun), Ok(end)) = (u32::try_from(begun), u32::try_from(end)) else { return };
        if self.newest.1 != end {
            self.older = self.newest;
        }
        self.newest = (begun, end);
    }
}
