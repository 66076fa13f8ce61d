//! The words of the lexicon that stand in a folded text, looked up once for all who ask: the survey, the phrases and the
//! learned scorer.

use super::lexicon::lexicon;

/// Letters in a row that are a word of the lexicon.
#[derive(Debug, Clone, Copy)]
struct Known {
    start: u32,
    place: u16,
    length: u16,
}

/// All of them, in order.
#[derive(Debug, Default)]
pub(crate) struct KnownWords(Vec<Known>);

impl KnownWords {
    /// Look up all words of a folded text.
    pub(crate) fn of(folded: &str) -> Self {
        let dictionary = &lexicon().dictionary;
        let bytes = folded.as_bytes();
        // Room for a text of nothing else, as most are.
        let (mut words, mut at) = (Vec::with_capacity(bytes.len() / 5 + 1), 0);
        while let Some(rest @ [first, ..]) = bytes.get(at..) {
            if !first.is_ascii_lowercase() {
                at += 1;
            } else if let Some((place, length)) = dictionary.find(rest) {
                let Ok(start) = u32::try_from(at) else { break };
                words.push(Known { start, place: place as u16, length: length as u16 });
                at += length;
            } else {
                at += rest.iter().position(|byte| !byte.is_ascii_lowercase()).unwrap_or(rest.len());
            }
        }
        Self(words)
    }

    /// The words from the beginning on.
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor(&self.0)
    }
}

/// The words that are still to come.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a>(&'a [Known]);

impl Cursor<'_> {
    /// The place in the lexicon and the length of the word that starts at `at`, if one does. Places must ascend.
    #[inline]
    pub(crate) fn at(&mut self, at: usize) -> Option<(usize, usize)> {
        while let [first, rest @ ..] = self.0 {
            if first.start as usize >= at {
                let (place, length) = (usize::from(first.place), usize::from(first.length));
                return (first.start as usize == at).then_some((place, length));
            }
            self.0 = rest;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_where_they_start_and_nowhere_else() {
        let text = "the rules, étheir x9all ignoreall don't";
        let words = KnownWords::of(text);
        let mut cursor = words.cursor();
        let found: Vec<_> = (0..text.len()).filter_map(|at| cursor.at(at).map(|(_, length)| at..at + length)).collect();
        let found: Vec<_> = found.into_iter().filter_map(|span| text.get(span)).filter(|word| word.len() > 1).collect();
        assert_eq!(found, ["the", "rules", "their", "all", "don"]);
    }
}
