//! Going through a text with an automaton of many words.

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};

use crate::text::Span;

/// Report every place of every word of an automaton, in the order of their ends, of two with the same end the longer
/// one first.
#[inline]
pub(crate) fn each_match(words: &impl Automaton, text: &str, mut found: impl FnMut(usize, Span)) {
    let Ok(mut state) = words.start_state(Anchored::No) else { return };
    let mut bytes = text.as_bytes().iter();
    while let Some(&byte) = bytes.next() {
        state = words.next_state(Anchored::No, state, byte);
        if words.is_special(state) && words.is_match(state) {
            report(words, state, text.len() - bytes.len(), &mut found);
        }
    }
}

/// Apart from the loop, which goes through every byte: hardly any of them ends a word.
#[cold]
fn report(words: &impl Automaton, state: StateID, end: usize, found: &mut impl FnMut(usize, Span)) {
    for index in 0..words.match_len(state) {
        let word = words.match_pattern(state, index);
        found(word.as_usize(), end - words.pattern_len(word)..end);
    }
}
