//! Messages that were read and held nothing, so that nobody has to read them again.
//!
//! An agent sends its whole conversation with each turn, and all but the last message was read before. What a message
//! holds follows from its role, its parts and the scanner alone: where nothing was found, nothing will be. Only that is
//! kept, as the [`Name`] of a message: no text, and nothing of what was found elsewhere.
//!
//! The answer is the same as without. That it comes sooner tells an agent that this message was sent before, so the agent
//! is part of the name: it learns of its own messages only. Memory has one size. Who sends much that is new pushes out
//! what was read longest ago, and then everything is read, as without.

use std::sync::{Mutex, PoisonError};

use super::Segment;
use crate::naming::{NAME_WORDS, Name, Naming};

/// Places of one set, the one that was asked for latest first.
const WAYS: usize = 8;
const SETS: usize = 8_192;

type Set = [Name; WAYS];

/// The messages in which one scanner found nothing. What takes up to [`Memory::BYTES`] is there once it is used.
#[derive(Debug)]
pub(super) struct Memory {
    naming: Naming,
    sets: Mutex<Vec<Set>>,
}

impl Memory {
    /// Bytes, when full.
    const BYTES: usize = SETS * WAYS * NAME_WORDS * size_of::<u32>();

    pub(super) fn new(secret: &[u8; 16]) -> Self {
        const { assert!(Self::BYTES == 1 << 20) };
        Self { naming: Naming::new(secret), sets: Mutex::new(vec![Set::default(); SETS]) }
    }

    /// What the messages of an agent are known by.
    pub(super) fn of(&self, agent: &str) -> Recall<'_> {
        let mut naming = self.naming.clone();
        naming.add(agent.as_bytes());
        Recall { memory: self, naming }
    }

    fn with_set<T>(&self, name: Name, use_it: impl FnOnce(&mut Set) -> T) -> Option<T> {
        let Name([first, ..]) = name;
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.get_mut(first as usize % SETS).map(use_it)
    }
}

/// The messages of one agent in which nothing was found.
pub(super) struct Recall<'a> {
    memory: &'a Memory,
    naming: Naming,
}

impl Recall<'_> {
    /// What a message is known by. Its parts have one role.
    pub(super) fn name(&self, parts: &[Segment<'_>]) -> Name {
        let mut naming = self.naming.clone();
        naming.add(parts.first().map_or("", |part| part.role.as_str()).as_bytes());
        parts.iter().for_each(|part| naming.add(part.text.as_bytes()));
        naming.name()
    }

    /// Whether nothing was found in this message.
    pub(super) fn holds(&self, name: Name) -> bool {
        let found = self.memory.with_set(name, |set| {
            let at = set.iter().position(|known| *known == name)?;
            set.get_mut(..=at).map(|until| until.rotate_right(1))
        });
        found.flatten().is_some()
    }

    /// Nothing was found in this message.
    pub(super) fn keep(&self, name: Name) {
        self.memory.with_set(name, |set| {
            set.rotate_right(1);
            if let Some(first) = set.first_mut() {
                *first = name;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scanner::Role;

    fn said(text: &str) -> Segment<'_> {
        Segment { message: 0, role: Role::User, text }
    }

    fn returned(text: &str) -> Segment<'_> {
        Segment { role: Role::Tool, ..said(text) }
    }

    #[test]
    fn a_message_is_its_agent_its_role_and_its_parts() {
        let (memory, other) = (Memory::new(&[1; 16]), Memory::new(&[2; 16]));
        let of_ann = memory.of("ann");
        let same = of_ann.name(&[said("ab"), said("c")]);
        assert_eq!(of_ann.name(&[Segment { message: 7, ..said("ab") }, said("c")]), same);
        let others = [
            memory.of("an").name(&[said("ab"), said("c")]),
            memory.of("").name(&[said("ab"), said("c")]),
            other.of("ann").name(&[said("ab"), said("c")]),
            of_ann.name(&[returned("ab"), returned("c")]),
            of_ann.name(&[said("ab")]),
            of_ann.name(&[said("a"), said("bc")]),
            of_ann.name(&[said("ab"), said("c"), said("")]),
            of_ann.name(&[said("abc")]),
            of_ann.name(&[said("c"), said("ab")]),
            of_ann.name(&[]),
        ];
        assert!(!others.contains(&same), "{others:?}");
    }

    #[test]
    fn what_was_kept_is_held_and_nothing_else() {
        let memory = Memory::new(&[0; 16]);
        let (ann, bob) = (memory.of("ann"), memory.of("bob"));
        let name = ann.name(&[said("hello")]);
        assert!(!ann.holds(name));
        ann.keep(name);
        assert!(ann.holds(name));
        assert!(!bob.holds(bob.name(&[said("hello")])));
    }

    #[test]
    fn of_a_full_set_the_one_that_nobody_asked_for_longest_goes() {
        let memory = Memory::new(&[0; 16]);
        let recall = memory.of("ann");
        let name = |number: usize| Name([SETS as u32, 1, 1, number as u32]);
        (0..WAYS).for_each(|number| recall.keep(name(number)));
        assert!((0..WAYS).rev().all(|number| recall.holds(name(number))));
        recall.keep(name(WAYS));
        let held: Vec<_> = (0..=WAYS).filter(|number| recall.holds(name(*number))).collect();
        assert_eq!(held, [vec![0], (1..WAYS - 1).collect(), vec![WAYS]].concat());
    }
}
