//! Going through a text with an automaton of many words.

use aho_corasick::Anchored;
use aho_corasick::automaton::Automaton;

use crate::text::Span;

/// Report every place of every word of an automaton, in the order of their ends, of two with the same end the longer
/// one first.
#[inline]
pub(crate) fn each_match(words: &impl Automaton, text: &str, mut found: impl FnMut(usize, Span)) {
    let Ok(mut state) = words.start_state(Anchored::No) else { return };
    for (at, &byte) in text.as_bytes().iter().enumerate() {
        state = words.next_state(Anchored::No, state, byte);
        if !words.is_special(state) || !words.is_match(state) {
            continue;
        }
        for index in 0..words.match_len(state) {
            let word = words.match_pattern(state, index);
            found(word.as_usize(), at + 1 - words.pattern_len(word)..at + 1);
        }
    }
}
