#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::table::{Full, SLOT_BYTES, Table, WAYS};
use super::*;
use crate::naming::Name;

const SECRET: [u8; 16] = *b"sixteen letters!";
const MANY: u64 = 1_000_000;

fn memory(slots: usize) -> Vec<Cell<u32>> {
    vec![Cell::new(0); slots * SLOT_BYTES / 4]
}

fn table(memory: &[Cell<u32>]) -> Table {
    Table::new(memory.len(), &SECRET).unwrap()
}

fn named(table: &Table, parts: &[&str]) -> Name {
    let mut naming = table.naming();
    parts.iter().for_each(|part| naming.add(part.as_bytes()));
    naming.name()
}

/// How many calls count under a name now, without counting one more.
fn used(table: &Table, memory: &[Cell<u32>], name: Name, now: f64) -> u64 {
    let taken = table.take(memory, &[(name, MANY), (named(table, &["another"]), 0)], Now::at(now)).unwrap();
    assert!(!taken.counted);
    MANY - taken.rooms.first().unwrap().remaining
}

/// The plain, obvious twin: all calls that were counted, as a list of seconds for each key.
#[derive(Default)]
struct Plain(BTreeMap<usize, Vec<u64>>);

impl Plain {
    fn recent(&self, key: usize, now: f64) -> Vec<u64> {
        let seconds = self.0.get(&key).into_iter().flatten().copied();
        seconds.filter(|second| second + 60 >= now as u64).collect()
    }

    fn take(&mut self, asked: &[(usize, u64)], now: f64) -> Taken {
        let counted = asked.iter().all(|(key, allowed)| (self.recent(*key, now).len() as u64) < *allowed);
        if counted {
            asked.iter().for_each(|(key, _)| self.0.entry(*key).or_default().push(now as u64));
        }
        let rooms = asked.iter().map(|(key, allowed)| room(&self.recent(*key, now), *allowed, now)).collect();
        Taken { counted, rooms }
    }
}

fn room(recent: &[u64], allowed: u64, now: f64) -> Room {
    let remaining_of = |calls: usize| allowed.saturating_sub(calls as u64);
    let remaining = remaining_of(recent.len());
    let more = |second: &&u64| remaining_of(recent.iter().filter(|other| other > second).count()) > remaining;
    let reset_seconds = recent.iter().find(more).map_or(0.0, |second| (second + 61) as f64 - now);
    Room { remaining, reset_seconds }
}

fn same(one: &Taken, other: &Taken) -> bool {
    let near = |(a, b): (&Room, &Room)| a.remaining == b.remaining && (a.reset_seconds - b.reset_seconds).abs() < 2e-6;
    one.counted == other.counted && one.rooms.len() == other.rooms.len() && one.rooms.iter().zip(&other.rooms).all(near)
}

/// Pauses, each followed by a call under one key or two, with the limit of each.
fn calls() -> impl Strategy<Value = Vec<(f64, Vec<(usize, u64)>)>> {
    let pause =
        prop_oneof![Just(0.0), 0.0..3.0f64, prop::sample::select(vec![1.0, 30.0, 59.0, 60.0, 60.5, 61.0, 62.0, 200.0])];
    let asked = (0..3usize, 0..5u64, prop::option::of((3..5usize, 1..4u64)))
        .prop_map(|(key, allowed, other)| std::iter::once((key, allowed)).chain(other).collect());
    prop::collection::vec((pause, asked), 0..60)
}

proptest! {
    #[test]
    fn a_table_says_the_same_as_a_list_of_times(calls in calls(), mut now in 0.0..3000.0f64) {
        let memory = memory(64);
        let table = table(&memory);
        let mut plain = Plain::default();
        for (pause, asked) in calls {
            now += pause;
            let by_name: Vec<_> =
                asked.iter().map(|(key, allowed)| (named(&table, &[&key.to_string()]), *allowed)).collect();
            let got = table.take(&memory[..], &by_name, Now::at(now)).unwrap();
            let expected = plain.take(&asked, now);
            prop_assert!(same(&got, &expected), "{now} {asked:?}: {got:?}, not {expected:?}");
        }
    }

    #[test]
    fn rings_of_one_process_say_the_same_as_those_in_shared_memory(calls in calls()) {
        let shared = memory(64);
        let table = table(&shared);
        let own: Vec<[AtomicU32; RING_WORDS]> = (0..5).map(|_| std::array::from_fn(|_| AtomicU32::new(0))).collect();
        let mut now = 1000.0;
        for (pause, asked) in calls {
            now += pause;
            let by_name: Vec<_> =
                asked.iter().map(|(key, allowed)| (named(&table, &[&key.to_string()]), *allowed)).collect();
            let rings: Vec<_> = asked
                .iter()
                .map(|(key, allowed)| (Ring::new(own.get(*key).unwrap().as_slice(), 0), *allowed))
                .collect();
            rings.iter().for_each(|(ring, _)| ring.advance(Now::at(now)));
            prop_assert_eq!(take(&rings, Now::at(now)), table.take(&shared[..], &by_name, Now::at(now)).unwrap());
        }
    }

    #[test]
    fn no_two_keys_have_one_name(one in prop::collection::vec(".{0,20}", 1..4), other in prop::collection::vec(".{0,20}", 1..4)) {
        let memory = memory(WAYS);
        let table = table(&memory);
        let named = |parts: &[String]| named(&table, &parts.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert_eq!(named(&one) == named(&other), one == other);
    }
}

#[test]
fn a_name_says_nothing_without_the_secret() {
    let memory = memory(WAYS);
    let other = Table::new(memory.len(), &[7; 16]).unwrap();
    assert_ne!(named(&table(&memory), &["a"]), named(&other, &["a"]));
    assert_ne!(named(&other, &["a", "bc"]), named(&other, &["ab", "c"]));
}

#[test]
fn what_is_counted_elsewhere_counts_without_room() {
    let memory = memory(16);
    let table = table(&memory);
    let name = named(&table, &["a"]);
    for _ in 0..3 {
        table.count(&memory[..], &[name], Now::at(10.0)).unwrap();
    }
    let taken = table.take(&memory[..], &[(name, 2)], Now::at(10.25)).unwrap();
    assert_eq!(taken, Taken { counted: false, rooms: vec![Room { remaining: 0, reset_seconds: 60.75 }] });
}

#[test]
fn a_full_table_refuses_new_keys_and_goes_on_with_the_others_and_has_room_a_window_later() {
    let memory = memory(16);
    let table = table(&memory);
    let take = |key: usize, now| table.take(&memory[..], &[(named(&table, &[&key.to_string()]), MANY)], Now::at(now));
    let taken: Vec<_> = (0..30).filter(|key| take(*key, 1000.0).is_ok()).collect();
    assert_eq!(taken.len(), 16);
    assert_eq!(take(*taken.first().unwrap(), 1060.9).unwrap().rooms.first().unwrap().remaining, MANY - 2);
    assert_eq!(take(30, 1060.9), Err(Full));
    assert!(take(30, 1061.0).is_ok());
}

#[test]
fn a_call_that_finds_no_place_for_one_of_its_keys_is_counted_under_none() {
    let memory = memory(WAYS);
    let table = table(&memory);
    let name = |key: usize| named(&table, &[&key.to_string()]);
    for key in 0..WAYS {
        table.take(&memory[..], &[(name(key), MANY)], Now::at(5.0)).unwrap();
    }
    assert_eq!(table.take(&memory[..], &[(name(0), MANY), (name(WAYS), MANY)], Now::at(5.0)), Err(Full));
    assert_eq!(table.count(&memory[..], &[name(0), name(WAYS)], Now::at(5.0)), Err(Full));
    let taken = table.take(&memory[..], &[(name(0), MANY)], Now::at(5.0)).unwrap();
    assert_eq!(taken.rooms.first().unwrap().remaining, MANY - 2);
}

#[test]
fn four_fifths_of_a_table_can_be_used() {
    let memory = memory(16_384);
    let table = table(&memory);
    let is_taken =
        |key: &usize| table.take(&memory[..], &[(named(&table, &[&key.to_string()]), 1)], Now::at(5.0)).is_ok();
    assert!((0..16_384).take_while(is_taken).count() > 13_107);
}

#[test]
fn a_second_that_is_full_refuses_and_does_not_wrap_around_and_leaves_its_neighbours_alone() {
    for start in [1000.0, 1001.0] {
        let memory = memory(WAYS);
        let table = table(&memory);
        let name = named(&table, &["a"]);
        let take = |now| table.take(&memory[..], &[(name, MANY)], Now::at(now)).unwrap();
        assert!(take(start - 1.0).counted);
        let most = u64::from(MAX_COUNT);
        let counted = (0..most + 10).filter(|_| take(start).counted).count();
        assert_eq!(counted as u64, most);
        table.count(&memory[..], &[name], Now::at(start)).unwrap();
        let refused = take(start + 0.75);
        assert_eq!(refused, Taken { counted: false, rooms: vec![Room { remaining: 0, reset_seconds: 0.25 }] });
        let next = take(start + 1.0);
        assert!(next.counted);
        assert_eq!(next.rooms.first().unwrap().remaining, MANY - most - 2);
        assert_eq!(used(&table, &memory, name, start + 60.0), most + 1);
        assert_eq!(used(&table, &memory, name, start + 61.0), 1);
    }
}

#[test]
fn memory_that_holds_no_set_is_no_table() {
    assert!(Table::new(WAYS * SLOT_BYTES / 4 - 1, &SECRET).is_none());
}

/// Memory of a process that is killed after so many writes: what it writes later is not there.
struct Mortal<'a> {
    memory: &'a [Cell<u32>],
    writes: Cell<usize>,
}

impl Words for Mortal<'_> {
    fn get(&self, at: usize) -> u32 {
        Words::get(self.memory, at)
    }

    fn set(&self, at: usize, word: u32) {
        if self.writes.get() > 0 {
            self.writes.set(self.writes.get() - 1);
            self.memory.set(at, word);
        }
    }
}

/// One that dies takes over places of keys that are gone, for a key of which nothing is known yet.
#[test]
fn whatever_write_a_process_dies_before_the_counts_are_right_or_one_too_many() {
    for pause in [0.0, 1.0, 2.0, 30.0, 59.0, 60.0, 61.0, 500.0] {
        let ends = (0..300).find(|writes| !dies(*writes, pause)).unwrap();
        assert!(ends > 5, "{ends}");
    }
}

/// Let a process die after so many writes, and check what it leaves. Whether it died.
fn dies(writes: usize, pause: f64) -> bool {
    let memory = memory(32);
    let table = table(&memory);
    let name = |key: usize| named(&table, &[&key.to_string()]);
    let mut plain = Plain::default();
    for old in 10..18 {
        table.take(&memory[..], &[(name(old), MANY)], Now::at(1000.0)).unwrap();
    }
    let mut now = 1062.0;
    for later in [0.0, 0.0, 0.0, 40.0, 1.0] {
        now += later;
        for keys in [&[0, 1, 2][..], &[3]] {
            let asked: Vec<_> = keys.iter().map(|key| (name(*key), MANY)).collect();
            table.take(&memory[..], &asked, Now::at(now)).unwrap();
            plain.take(&keys.iter().map(|key| (*key, MANY)).collect::<Vec<_>>(), now);
        }
    }
    now += pause;
    let mortal = Mortal { memory: &memory, writes: Cell::new(writes) };
    let asked = [0, 1, 2, 4].map(|key| (name(key), MANY));
    table.take(&mortal, &asked, Now::at(now)).unwrap();
    let died = mortal.writes.get() == 0;
    for (key, most) in [(0, 1), (1, 1), (2, 1), (3, 0), (4, 1)] {
        let more = used(&table, &memory, name(key), now) - plain.recent(key, now).len() as u64;
        assert!(more <= most && (died || more == most), "key {key}, {writes} writes, {pause} s: {more}");
    }
    for old in 10..18 {
        assert_eq!(used(&table, &memory, name(old), now), 0);
    }
    died
}
