//! Sliding windows: how many calls were counted in the current second and in the 60 before it.
//!
//! A window is a ring of [`RING_WORDS`] words of 32 bits: the latest second that it knows, then 61 counts of 16 bits, two
//! to a word, that of second `s` at place `s % 61`. Seconds are whole and never go back; those of a ring begin at 61, so
//! that a ring of zeros is one in which nothing counts. Memory is the same whatever the limit. [`table`] finds the ring
//! of a key among many.
//!
//! INVARIANT: rings may lie in memory that processes share, and any of them may be killed between two writes. Every write
//! leaves rings that are right, or count one call too many; so the order of writes matters, and [`Words`] keeps it.

mod ring;
pub mod table;

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};

pub use ring::Ring;

/// The seconds of a window: the current one, and the 60 before it.
pub const SECONDS: usize = 61;
/// The size of a ring: 128 bytes.
pub const RING_WORDS: usize = 1 + SECONDS.div_ceil(2);
/// The most that is counted in one second. A call beyond it is refused, until the next second.
pub const MAX_COUNT: u16 = u16::MAX;

/// Memory in words of 32 bits. There is nothing beyond its end: zeros, and whoever writes there writes nothing.
pub trait Words {
    /// The word at this place.
    fn get(&self, at: usize) -> u32;

    /// Write a word, after all that was written before and before all that is written later.
    fn set(&self, at: usize, word: u32);
}

/// What one thread at a time may change: memory shared with other processes, under a lock.
impl Words for [Cell<u32>] {
    #[inline]
    fn get(&self, at: usize) -> u32 {
        <[Cell<u32>]>::get(self, at).map_or(0, Cell::get)
    }

    #[inline]
    fn set(&self, at: usize, word: u32) {
        if let Some(cell) = <[Cell<u32>]>::get(self, at) {
            cell.set(word);
        }
        // A process that is killed has written what its instructions had come to: only the compiler can change their order.
        compiler_fence(Ordering::SeqCst);
    }
}

/// What belongs to this process alone.
impl Words for [AtomicU32] {
    #[inline]
    fn get(&self, at: usize) -> u32 {
        <[AtomicU32]>::get(self, at).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    #[inline]
    fn set(&self, at: usize, word: u32) {
        if let Some(found) = <[AtomicU32]>::get(self, at) {
            found.store(word, Ordering::Relaxed);
        }
    }
}

/// A moment, as rings know it.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    second: u32,
    /// Of this second, 0 to 1.
    passed: f64,
}

impl Now {
    /// The moment at which a clock that never goes back, and is never below 0, shows so many seconds.
    #[must_use]
    pub fn at(seconds: f64) -> Self {
        Self { second: (seconds as u32).saturating_add(SECONDS as u32), passed: seconds.fract() }
    }
}

/// What is left under one limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Room {
    /// How many calls more there may be now.
    pub remaining: u64,
    /// Seconds until there may be more than that; 0 where nothing is counted.
    pub reset_seconds: f64,
}

/// Whether a call was counted, and what each limit then leaves, in the order in which they were given.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// If not, then under no limit at all.
    pub counted: bool,
    /// One for each limit.
    pub rooms: Vec<Room>,
}

/// Count one call in every ring, if each has fewer than are allowed. All rings are at this moment ([`Ring::advance`]).
pub fn take<M: Words + ?Sized>(asked: &[(Ring<'_, M>, u64)], now: Now) -> Taken {
    let mut tallies: Vec<_> = asked.iter().map(|(ring, _)| ring.tally()).collect();
    let counted = asked.iter().zip(&tallies).all(|((_, allowed), tally)| tally.has_room(*allowed));
    if counted {
        for ((ring, _), tally) in asked.iter().zip(&mut tallies) {
            ring.add();
            tally.add();
        }
    }
    let rooms = asked.iter().zip(&tallies).map(|((_, allowed), tally)| tally.room(*allowed, now)).collect();
    Taken { counted, rooms }
}

#[cfg(test)]
mod tests;
