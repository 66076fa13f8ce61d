//! Finding words that stand alone, all of them in one pass.
//!
//! An Aho-Corasick automaton over tokens instead of bytes: a token is a run of ASCII letters and digits, or any other
//! character. Most tokens of a text are in no word, which one bit tells; the tables stay in the nearest caches, where
//! an automaton over bytes for as many words has megabytes of states and waits for memory at every other letter.

use std::collections::{BTreeMap, VecDeque};

use crate::text::Span;

/// Odd, without structure; the golden ratio, and a prime.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
const SPREAD_LENGTH: u64 = 0xD6E8_FEB8_6659_FD93;
/// Marks the key of a token of more than eight bytes; no shorter one has this bit, its eighth byte being ASCII.
const LONG: u64 = 1 << 63;
/// The filter has 2 to the power of this many bits: 8 KiB.
const FILTER_BITS: u32 = 16;
/// No token of any word.
const UNKNOWN: u32 = u32::MAX;
/// The state in which nothing has begun.
const ROOT: u32 = 0;

/// A set of words, compiled.
#[derive(Debug)]
pub(super) struct Words {
    tokens: Tokens,
    /// The state after a token that follows nothing.
    starts: Vec<u32>,
    nodes: Vec<Node>,
    /// The edges of all nodes but the root; those of one node are neighbours, ascending.
    edges: Vec<Edge>,
}

/// The beginning of a word.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    /// The longest beginning of a word that this one ends with.
    fail: u32,
    /// This node or the first after it along `fail` where a word is complete, or the root.
    complete: u32,
    edges: (u32, u32),
    /// The word that is complete here, if `complete` is this node, and its length.
    word: u32,
    length: u32,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    token: u32,
    to: u32,
}

impl Words {
    /// Compile words; their indexes are what [`Words::find`] names. No two are equal, and none is empty.
    pub(super) fn new(words: &[&str]) -> Self {
        let mut vocabulary: BTreeMap<&[u8], u32> = BTreeMap::new();
        let mut children: Vec<BTreeMap<u32, u32>> = vec![BTreeMap::new()];
        let mut nodes = vec![Node::default()];
        for (index, word) in words.iter().enumerate() {
            let mut node = ROOT;
            for token in split(word.as_bytes()) {
                let fresh = vocabulary.len() as u32;
                let token = *vocabulary.entry(token).or_insert(fresh);
                let fresh = nodes.len() as u32;
                let Some(edges) = children.get_mut(node as usize) else { break };
                node = *edges.entry(token).or_insert(fresh);
                if node == fresh {
                    nodes.push(Node::default());
                    children.push(BTreeMap::new());
                }
            }
            if let Some(last) = nodes.get_mut(node as usize) {
                *last = Node { complete: node, word: index as u32, length: word.len() as u32, ..*last };
            }
        }
        let mut starts = vec![ROOT; vocabulary.len()];
        for (&token, &to) in children.first().into_iter().flatten() {
            starts.iter_mut().skip(token as usize).take(1).for_each(|start| *start = to);
        }
        let mut edges = Vec::new();
        for (node, children) in nodes.iter_mut().zip(&children).skip(1) {
            let from = edges.len() as u32;
            edges.extend(children.iter().map(|(&token, &to)| Edge { token, to }));
            node.edges = (from, edges.len() as u32);
        }
        let mut words = Self { tokens: Tokens::new(&vocabulary), starts, nodes, edges };
        words.link(&children);
        words
    }

    /// Set where to go on when a token leads nowhere, nodes near the root first.
    fn link(&mut self, children: &[BTreeMap<u32, u32>]) {
        let mut queue: VecDeque<u32> = children.first().into_iter().flatten().map(|(_, &node)| node).collect();
        while let Some(node) = queue.pop_front() {
            let fail = self.node(node).fail;
            for (&token, &child) in children.get(node as usize).into_iter().flatten() {
                let target = self.step(fail, token);
                let complete = self.node(target).complete;
                if let Some(child) = self.nodes.get_mut(child as usize) {
                    child.fail = target;
                    child.complete = if child.complete == ROOT { complete } else { child.complete };
                }
                queue.push_back(child);
            }
        }
    }

    /// Report every word that stands in the text with its beginning and its end at borders of tokens, in the order of
    /// their ends, of two with the same end the longer one first.
    #[inline]
    pub(super) fn find(&self, text: &str, mut found: impl FnMut(usize, Span)) {
        let bytes = text.as_bytes();
        let (mut node, mut at) = (ROOT, 0);
        while let Some(&byte) = bytes.get(at) {
            let (token, end) = self.tokens.read(bytes, byte, at);
            at = end;
            if token == UNKNOWN {
                node = ROOT;
                continue;
            }
            node = self.step(node, token);
            let mut complete = self.node(node).complete;
            while complete != ROOT {
                let Node { word, length, fail, .. } = self.node(complete);
                found(word as usize, end - length as usize..end);
                complete = self.node(fail).complete;
            }
        }
    }

    /// The state after `token` in the state `node`. Going back costs no more than having come there.
    #[inline]
    fn step(&self, mut node: u32, token: u32) -> u32 {
        while node != ROOT {
            let Node { edges: (from, to), fail, .. } = self.node(node);
            let edges = self.edges.get(from as usize..to as usize).unwrap_or_default();
            if let Ok(index) = edges.binary_search_by_key(&token, |edge| edge.token) {
                return edges.get(index).map_or(ROOT, |edge| edge.to);
            }
            node = fail;
        }
        self.starts.get(token as usize).copied().unwrap_or(ROOT)
    }

    #[inline]
    fn node(&self, node: u32) -> Node {
        self.nodes.get(node as usize).copied().unwrap_or_default()
    }
}

/// The tokens of all words, numbered.
#[derive(Debug)]
struct Tokens {
    /// A bit for each key of a token; most other keys have none.
    filter: Vec<u64>,
    /// Open addressing, at most half full.
    slots: Vec<Slot>,
    /// What the spellings of long tokens are compared with.
    spellings: Vec<Box<[u8]>>,
    /// The numbers of ASCII signs.
    signs: Vec<u32>,
    /// Length of the longest.
    longest: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    key: u64,
    token: u32,
}

impl Tokens {
    fn new(vocabulary: &BTreeMap<&[u8], u32>) -> Self {
        let mut tokens = Self {
            filter: vec![0; 1 << (FILTER_BITS - u64::BITS.trailing_zeros())],
            slots: vec![Slot { key: 0, token: UNKNOWN }; (2 * vocabulary.len()).next_power_of_two()],
            spellings: vec![Box::default(); vocabulary.len()],
            signs: vec![UNKNOWN; 128],
            longest: vocabulary.keys().map(|token| token.len()).max().unwrap_or(0),
        };
        for (&spelling, &token) in vocabulary {
            tokens.add(spelling, token);
        }
        tokens
    }

    fn add(&mut self, spelling: &[u8], token: u32) {
        if let (&[byte], Some(sign)) = (spelling, spelling.first().and_then(|&at| self.signs.get_mut(usize::from(at))))
            && !byte.is_ascii_alphanumeric()
        {
            *sign = token;
            return;
        }
        let key = key(spelling, 0, spelling.len());
        let (word, bit) = filter_bit(key);
        self.filter.iter_mut().skip(word).take(1).for_each(|bits| *bits |= bit);
        let free = self.probe(key).find(|&at| self.slots.get(at).is_some_and(|slot| slot.token == UNKNOWN));
        if let Some(slot) = free.and_then(|free| self.slots.get_mut(free)) {
            *slot = Slot { key, token };
        }
        self.spellings.iter_mut().skip(token as usize).take(1).for_each(|known| *known = spelling.into());
    }

    /// The token at `at`, where `byte` stands, and where it ends.
    #[inline]
    fn read(&self, bytes: &[u8], byte: u8, at: usize) -> (u32, usize) {
        if byte.is_ascii_alphanumeric() {
            let end = run_end(bytes, at);
            (self.number(bytes, at, end), end)
        } else if byte.is_ascii() {
            (self.signs.get(usize::from(byte)).copied().unwrap_or(UNKNOWN), at + 1)
        } else {
            let end = at + width(byte);
            (self.number(bytes, at, end), end)
        }
    }

    #[inline]
    fn number(&self, bytes: &[u8], start: usize, end: usize) -> u32 {
        if end - start > self.longest {
            return UNKNOWN;
        }
        let key = key(bytes, start, end);
        let (word, bit) = filter_bit(key);
        if self.filter.get(word).is_none_or(|bits| bits & bit == 0) {
            UNKNOWN
        } else {
            self.look_up(bytes, start, end, key)
        }
    }

    fn look_up(&self, bytes: &[u8], start: usize, end: usize, key: u64) -> u32 {
        for slot in self.probe(key).map_while(|at| self.slots.get(at)) {
            if slot.token == UNKNOWN {
                break;
            }
            let equal = || self.spellings.get(slot.token as usize).map(|known| &**known) == bytes.get(start..end);
            if slot.key == key && (key & LONG == 0 || equal()) {
                return slot.token;
            }
        }
        UNKNOWN
    }

    /// The slots in which a key may be, the likeliest first.
    fn probe(&self, key: u64) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len().saturating_sub(1);
        let first = (spread(key) >> 44) as usize;
        (0..=mask).map(move |next| first.wrapping_add(next) & mask)
    }
}

/// A number for a token: its bytes, if they fit.
#[inline]
fn key(bytes: &[u8], start: usize, end: usize) -> u64 {
    let length = end - start;
    if length <= 8 {
        return eight(bytes, start) & u64::MAX >> (64 - 8 * length as u32).min(63);
    }
    let (head, tail) = (eight(bytes, start), eight(bytes, end - 8));
    (spread(head).rotate_left(29) ^ tail).wrapping_add((length as u64).wrapping_mul(SPREAD_LENGTH)) | LONG
}

/// Eight bytes from `start` on, zeros after the last.
#[inline]
fn eight(bytes: &[u8], start: usize) -> u64 {
    let rest = bytes.get(start..).unwrap_or_default();
    if let Some(&eight) = rest.first_chunk() {
        return u64::from_le_bytes(eight);
    }
    rest.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte))
}

#[inline]
const fn spread(key: u64) -> u64 {
    key.wrapping_mul(SPREAD)
}

/// Which number of the filter a key is in, and its bit there.
#[inline]
const fn filter_bit(key: u64) -> (usize, u64) {
    let bit = spread(key) >> (u64::BITS - FILTER_BITS);
    ((bit >> 6) as usize, 1 << (bit & 63))
}

/// Where the run of ASCII letters and digits at `at` ends.
#[inline]
fn run_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(rest.len())
}

/// Bytes of the character that begins with `lead`, which is not ASCII.
#[inline]
const fn width(lead: u8) -> usize {
    match lead {
        0xF0.. => 4,
        0xE0.. => 3,
        _ => 2,
    }
}

/// The tokens of a word.
fn split(word: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let &byte = word.get(at)?;
        let end = match byte {
            _ if byte.is_ascii_alphanumeric() => run_end(word, at),
            _ if byte.is_ascii() => at + 1,
            _ => at + width(byte),
        };
        let token = word.get(at..end);
        at = end;
        token
    })
}
