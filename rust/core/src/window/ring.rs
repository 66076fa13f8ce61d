//! One window.

use super::{MAX_COUNT, Now, RING_WORDS, Room, SECONDS, Words};

/// The ring of [`RING_WORDS`] words that begins `at` this place of `memory`.
#[derive(Debug)]
pub struct Ring<'a, M: ?Sized> {
    memory: &'a M,
    at: usize,
}

impl<'a, M: Words + ?Sized> Ring<'a, M> {
    /// The ring there.
    pub fn new(memory: &'a M, at: usize) -> Self {
        Self { memory, at }
    }

    /// Bring it to this moment: what is older than a window is counted no more.
    pub fn advance(&self, now: Now) {
        let latest = self.latest();
        if now.second <= latest {
            return;
        }
        if self.is_idle(now) {
            for at in self.at + 1..self.at + RING_WORDS {
                self.memory.set(at, 0);
            }
        } else {
            for second in latest + 1..=now.second {
                self.set_count(second, 0);
            }
        }
        self.memory.set(self.at, now.second); // last: whoever dies before it leaves only zeros where zeros belong
    }

    /// Whether nothing that it counted counts any more.
    #[must_use]
    pub fn is_idle(&self, now: Now) -> bool {
        now.second - now.second.min(self.latest()) >= SECONDS as u32
    }

    /// Count one call in its latest second, whether or not there is room. A full second stays as it is.
    pub fn add(&self) {
        let latest = self.latest();
        self.set_count(latest, self.count(latest).saturating_add(1));
    }

    /// What it counts.
    pub(super) fn tally(&self) -> Tally {
        let mut counts = [0; SECONDS];
        for (at, two) in (self.at + 1..).zip(counts.chunks_mut(2)) {
            let word = self.memory.get(at);
            two.iter_mut().zip([word, word >> 16]).for_each(|(count, half)| *count = half as u16);
        }
        counts.rotate_left((self.latest() as usize + 1) % SECONDS);
        // Without a look for an overflow, which 61 counts of 16 bits cannot bring about, several are added at a time.
        let used = counts.iter().fold(0, |used: u32, count| used.wrapping_add((*count).into()));
        Tally { counts, used }
    }

    fn latest(&self) -> u32 {
        self.memory.get(self.at)
    }

    fn count(&self, second: u32) -> u16 {
        let (at, shift) = self.place_of(second);
        (self.memory.get(at) >> shift) as u16
    }

    fn set_count(&self, second: u32, count: u16) {
        let (at, shift) = self.place_of(second);
        let others = self.memory.get(at) & !(u32::from(MAX_COUNT) << shift);
        self.memory.set(at, others | u32::from(count) << shift);
    }

    fn place_of(&self, second: u32) -> (usize, u32) {
        let place = second as usize % SECONDS;
        (self.at + 1 + place / 2, 16 * (place % 2) as u32)
    }
}

/// What a ring counts.
pub(super) struct Tally {
    /// By the second, the oldest first.
    counts: [u16; SECONDS],
    used: u32,
}

impl Tally {
    pub(super) fn has_room(&self, allowed: u64) -> bool {
        u64::from(self.used) < allowed && !self.is_second_full()
    }

    /// As [`Ring::add`].
    pub(super) fn add(&mut self) {
        if let Some(count) = self.counts.last_mut().filter(|count| **count < MAX_COUNT) {
            *count += 1;
            self.used += 1;
        }
    }

    pub(super) fn room(&self, allowed: u64, now: Now) -> Room {
        let used = u64::from(self.used);
        let remaining = allowed.saturating_sub(used);
        if remaining > 0 && self.is_second_full() {
            return Room { remaining: 0, reset_seconds: 1.0 - now.passed };
        }
        // How many calls have to leave the window before there is more room.
        let leaving = (used + 1).saturating_sub(allowed).max(1);
        let mut left = 0;
        let age = self.counts.iter().position(|count| {
            left += u64::from(*count);
            left >= leaving
        });
        Room { remaining, reset_seconds: age.map_or(0.0, |age| (age + 1) as f64 - now.passed) }
    }

    fn is_second_full(&self) -> bool {
        self.counts.last() == Some(&MAX_COUNT)
    }
}
