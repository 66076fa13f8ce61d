//! A table of windows: finds the ring of a key, or gives it one.
//!
//! A key is known by its [`Name`], a hash under a secret, and may lie in one of two sets of sixteen places. So nobody can
//! choose keys that crowd each other out, and a full table and a slow search are the same rare thing. A place in which
//! nothing counts any more is taken over by whoever needs one. With no place left a key is refused, not forgotten.
//!
//! In memory all names come first, then all rings: the names of a set are four lines of the processor's cache.

use super::{Now, RING_WORDS, Ring, Taken, Words, take};
use crate::naming::{NAME_WORDS, Name, Naming};

/// Places of one set.
pub const WAYS: usize = 16;
/// What one place takes.
pub const SLOT_BYTES: usize = 4 * (NAME_WORDS + RING_WORDS);

/// There is no place for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many agents at once")]
pub struct Full;

/// How a table lies in its memory. The memory itself is given with each question, always the same.
pub struct Table {
    sets: usize,
    naming: Naming,
}

impl Table {
    /// A table of `words`, as many as make whole sets; `None` where that is not even one.
    #[must_use]
    pub fn new(words: usize, secret: &[u8; 16]) -> Option<Self> {
        let sets = words / (WAYS * (NAME_WORDS + RING_WORDS));
        (sets > 0).then(|| Self { sets, naming: Naming::new(secret) })
    }

    /// Begins the name of a key.
    #[must_use]
    pub fn naming(&self) -> Naming {
        self.naming.clone()
    }

    /// Count one call under each name, if under each there are fewer than are allowed.
    ///
    /// # Errors
    /// There is no place for one of them; nothing was counted then.
    pub fn take<M: Words + ?Sized>(&self, memory: &M, asked: &[(Name, u64)], now: Now) -> Result<Taken, Full> {
        let found = |(name, allowed): &(Name, u64)| Ok((self.ring(memory, *name, now)?, *allowed));
        let rings = asked.iter().map(found).collect::<Result<Vec<_>, _>>()?;
        Ok(take(&rings, now))
    }

    /// Count one call under each name, whether or not there is room.
    ///
    /// # Errors
    /// There is no place for one of them; nothing was counted then.
    pub fn count<M: Words + ?Sized>(&self, memory: &M, names: &[Name], now: Now) -> Result<(), Full> {
        let rings = names.iter().map(|name| self.ring(memory, *name, now)).collect::<Result<Vec<_>, _>>()?;
        rings.iter().for_each(Ring::add);
        Ok(())
    }

    /// The ring of a name, in the place that it has or in one that it is given.
    ///
    /// It is at this moment, and so not idle: its place is not given to the next name of the same call.
    fn ring<'a, M: Words + ?Sized>(&self, memory: &'a M, name: Name, now: Now) -> Result<Ring<'a, M>, Full> {
        let sets = self.sets_of(name);
        let known = sets.iter().flat_map(slots_of).find(|slot| is_at(memory, *slot, name));
        let slot = known.map_or_else(|| self.settle(memory, name, sets, now), Ok)?;
        let ring = self.ring_at(memory, slot);
        ring.advance(now);
        Ok(ring)
    }

    /// Give a name an idle place, in the emptier of its sets. Nothing there counts: whoever had it loses nothing.
    fn settle<M: Words + ?Sized>(&self, memory: &M, name: Name, sets: [usize; 2], now: Now) -> Result<usize, Full> {
        let idle = sets.map(|set| slots_of(&set).filter(|slot| self.ring_at(memory, *slot).is_idle(now)));
        let [first, second] = idle.clone().map(Iterator::count);
        let [mut here, mut there] = idle;
        let slot = if first >= second { here.next() } else { there.next() }.ok_or(Full)?;
        for (at, word) in (NAME_WORDS * slot..).zip(name.0) {
            memory.set(at, word);
        }
        Ok(slot)
    }

    fn sets_of(&self, name: Name) -> [usize; 2] {
        let [first, second, ..] = name.0;
        [first, second].map(|word| word as usize % self.sets)
    }

    fn ring_at<'a, M: Words + ?Sized>(&self, memory: &'a M, slot: usize) -> Ring<'a, M> {
        Ring::new(memory, NAME_WORDS * WAYS * self.sets + RING_WORDS * slot)
    }
}

fn slots_of(set: &usize) -> std::ops::Range<usize> {
    set * WAYS..(set + 1) * WAYS
}

fn is_at<M: Words + ?Sized>(memory: &M, slot: usize, name: Name) -> bool {
    (NAME_WORDS * slot..).zip(name.0).all(|(at, word)| memory.get(at) == word)
}
