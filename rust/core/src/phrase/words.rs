//! Finding words that stand alone, all of them in one pass.
//!
//! An Aho-Corasick automaton over tokens instead of bytes: a token is a run of ASCII letters and digits, or any other
//! character. Most tokens of a text are in no word, which one bit tells; the tables stay in the nearest caches, where
//! an automaton over bytes for as many words has megabytes of states and waits for memory at every other letter.

use std::collections::{BTreeMap, VecDeque};

use super::tokens::{Tokens, UNKNOWN, split};
use crate::text::Span;
use crate::text::known::KnownWords;

/// The state in which nothing has begun.
const ROOT: u32 = 0;

/// A set of words, compiled.
#[derive(Debug)]
pub(super) struct Words {
    tokens: Tokens,
    /// The state after a token that follows nothing, and after a word of the lexicon, by its place, that does.
    starts: Vec<u32>,
    known_starts: Vec<u32>,
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
    /// This node or the first after it along `fail` that anything goes on from, or the root.
    onward: u32,
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
        let tokens = Tokens::new(&vocabulary);
        let known = |token| if token == UNKNOWN { ROOT } else { starts.get(token as usize).copied().unwrap_or(ROOT) };
        let known_starts = tokens.known().map(known).collect();
        let mut words = Self { tokens, starts, known_starts, nodes, edges };
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
            let onward = self.node(fail).onward;
            if let Some(this) = self.nodes.get_mut(node as usize) {
                this.onward = if this.edges.0 < this.edges.1 { node } else { onward };
            }
        }
    }

    /// Report every word that stands in the text with its beginning and its end at borders of tokens, in the order of
    /// their ends, of two with the same end the longer one first.
    #[inline]
    pub(super) fn find(&self, text: &str, words: &KnownWords, mut found: impl FnMut(usize, Span)) {
        let bytes = text.as_bytes();
        let mut known = words.cursor();
        // Most spaces follow a word that begins nothing, and begin nothing.
        let is_blank = match self.tokens.read(b" ", 0) {
            (UNKNOWN, _) => true,
            (token, _) => self.step(ROOT, token) == ROOT,
        };
        let (mut node, mut at) = (ROOT, 0);
        while let Some(&byte) = bytes.get(at) {
            if byte == b' ' && node == ROOT && is_blank {
                at += 1;
                continue;
            }
            let word = if byte.is_ascii_lowercase() { known.at(at) } else { None };
            let (state, end) = match word {
                Some((place, length)) if !bytes.get(at + length).is_some_and(u8::is_ascii_alphanumeric) => {
                    let state = if node == ROOT {
                        self.known_starts.get(place).copied().unwrap_or(ROOT)
                    } else {
                        self.step(node, self.tokens.of_known(place))
                    };
                    (state, at + length)
                }
                _ => {
                    let (token, end) = self.tokens.read(bytes, at);
                    (self.step(node, token), end)
                }
            };
            at = end;
            if state == ROOT {
                node = ROOT;
                continue;
            }
            let reached = self.node(state);
            node = reached.onward;
            let mut complete = reached.complete;
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
        if token == UNKNOWN {
            return ROOT;
        }
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
