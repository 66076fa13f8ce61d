//! How far each phrase has come: what finding a word does.

use std::collections::BTreeMap;

use super::Hit;
use crate::text::Span;

/// Steps whose places lie together in memory: those of a phrase are neighbours, and mostly none of them is reached.
const PAGE: usize = 4;
/// Room for so many pages is taken at once.
const USUALLY_REACHED: usize = 16;
/// No page.
const NONE: u32 = u32::MAX;

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
    /// The uses of a word are those from the first number up to the second; in so many of them, the first ones, it
    /// follows another.
    words: Vec<(u32, u32, u32)>,
    /// No step is followed by one that ends more bytes behind its end.
    reach: usize,
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
            uses.sort_by_key(|used| (used.first, std::cmp::Reverse(used.step)));
            let following = uses.iter().filter(|used| !used.first).count();
            let gap = uses.iter().map(|used| used.gap as usize).max().unwrap_or(0);
            table.reach = table.reach.max(gap.saturating_add(word.len()));
            table.words.push((from as u32, table.uses.len() as u32, following as u32));
            kept.push(word.as_str());
        }
        (kept, table)
    }

    /// The uses in which a word follows another, and those in which it is the first.
    #[inline]
    fn uses(&self, word: usize) -> (&[Use], &[Use]) {
        let (from, to, following) = self.words.get(word).copied().unwrap_or_default();
        let uses = self.uses.get(from as usize..to as usize).unwrap_or_default();
        uses.split_at_checked(following as usize).unwrap_or_default()
    }
}

/// How far each phrase has come in a text.
#[derive(Debug)]
pub(super) struct Progress {
    /// For each page of steps where it is: hardly any step of a large set is reached, and every reading starts with a
    /// fresh table.
    pages: Vec<u32>,
    reached: Vec<[Reached; PAGE]>,
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
        let pages = steps.div_ceil(PAGE);
        Self { pages: vec![NONE; pages], reached: Vec::with_capacity(pages.min(USUALLY_REACHED)) }
    }

    /// Go through a text with the words of one table.
    pub(super) const fn pass<'a>(&'a mut self, table: &'a Table) -> Pass<'a> {
        Pass { progress: self, table, lately: 0, before: 0, since: 0 }
    }

    /// The places of a step, room for which is made where there is none.
    #[inline]
    fn entry(&mut self, step: u32) -> Option<&mut Reached> {
        let page = self.pages.get_mut(step as usize / PAGE)?;
        if *page == NONE {
            *page = self.reached.len() as u32;
            self.reached.push([Reached::default(); PAGE]);
        }
        self.reached.get_mut(*page as usize)?.get_mut(step as usize % PAGE)
    }

    /// Where the phrase began, if its step before `used` ended near enough before `start`.
    fn follows(&self, used: &Use, start: usize) -> Option<usize> {
        let step = used.step.checked_sub(1)? as usize;
        let page = *self.pages.get(step / PAGE)?;
        let before = self.reached.get(page as usize)?.get(step % PAGE)?;
        let start = u32::try_from(start).ok()?;
        let near = |&(_, end): &(u32, u32)| end > 0 && end <= start && start - end <= used.gap;
        Some(before.newest).filter(near).or(Some(before.older).filter(near)).map(|(begun, _)| begun as usize)
    }
}

/// One way through a text. Most words follow none of the steps before them, which one bit tells.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    progress: &'a mut Progress,
    table: &'a Table,
    /// A bit for each step that was reached from `since` on, and for each that was in a stretch before, as long as
    /// anything follows a step. Some others share it.
    lately: u64,
    before: u64,
    since: usize,
}

impl Pass<'_> {
    /// Go on with every phrase for which the word at `place` is its next step. Ends of places must not descend.
    #[inline]
    pub(super) fn advance(
        &mut self,
        word: usize,
        place: &Span,
        stands: impl Fn(&Use) -> bool,
        found: &mut impl FnMut(Hit),
    ) {
        if place.end - self.since > self.table.reach {
            (self.before, self.lately, self.since) = (self.lately, 0, place.end);
        }
        let ((following, first), reached) = (self.table.uses(word), self.lately | self.before);
        for used in following {
            if reached & bit(used.step.wrapping_sub(1)) != 0
                && stands(used)
                && let Some(begun) = self.progress.follows(used, place.start)
            {
                self.go_on(used, begun..place.end, found);
            }
        }
        for used in first.iter().filter(|used| stands(used)) {
            self.go_on(used, place.clone(), found);
        }
    }

    /// A phrase has come to a step, or is complete, with what stands at `place`. Inlined, since there are texts in which
    /// every other byte comes here.
    #[inline(always)]
    fn go_on(&mut self, used: &Use, place: Span, found: &mut impl FnMut(Hit)) {
        if used.last {
            found(Hit { phrase: used.phrase as usize, span: place });
        } else if let Some(reached) = self.progress.entry(used.step) {
            reached.set(place.start, place.end);
            self.lately |= bit(used.step);
        }
    }
}

const fn bit(step: u32) -> u64 {
    1 << (step & 63)
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
