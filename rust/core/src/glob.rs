//! Patterns in which `*` stands for any run of characters, also an empty one.
//!
//! There is no other metacharacter and no escape, so a pattern says the same to everybody who reads it. Matching is
//! case-sensitive, takes time linear in the text, does not allocate and does not recurse. The usual backtracking matcher
//! was rejected: an agent chooses the text, and `*a*a*a*b` makes it quadratic and worse.

use memchr::memmem::Finder;

/// A pattern, cut at its stars.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    prefix: Box<str>,
    /// What must occur between prefix and suffix, in this order and without overlap. None is empty.
    middle: Box<[Finder<'static>]>,
    /// `None` for a pattern without a star: then the prefix is the whole text.
    suffix: Option<Box<str>>,
}

impl Glob {
    /// Cut a pattern at its stars. Consecutive stars are one.
    pub(crate) fn new(pattern: &str) -> Self {
        let Some((prefix, rest)) = pattern.split_once('*') else {
            return Self { prefix: pattern.into(), middle: Box::default(), suffix: None };
        };
        let (middle, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
        let middle = middle.split('*').filter(|piece| !piece.is_empty());
        Self {
            prefix: prefix.into(),
            middle: middle.map(|piece| Finder::new(piece).into_owned()).collect(),
            suffix: Some(suffix.into()),
        }
    }

    /// Whether the pattern consists of stars only, and so matches every text.
    pub(crate) fn is_any(&self) -> bool {
        self.prefix.is_empty() && self.middle.is_empty() && self.suffix.as_deref() == Some("")
    }

    /// What the pattern begins with, up to its first star; the whole of a pattern without one.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether there is no star in it.
    pub(crate) fn is_exact(&self) -> bool {
        self.suffix.is_none()
    }

    /// Whether every text that `other` matches is matched by this one too.
    ///
    /// A sign that stands in neither pattern takes the place of the other's stars: only a star can match it.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        const FRESH: &str = "\u{10ffff}";
        let Some(suffix) = other.suffix.as_deref() else { return self.matches(&other.prefix) };
        let mut text = format!("{}{FRESH}", other.prefix);
        for piece in &other.middle {
            text.push_str(&String::from_utf8_lossy(piece.needle()));
            text.push_str(FRESH);
        }
        text.push_str(suffix);
        self.matches(&text)
    }

    /// Whether the whole text matches.
    ///
    /// Taking each piece at its first occurrence is enough: a later one leaves less text for those that follow.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some(suffix) = self.suffix.as_deref() else { return text == &*self.prefix };
        let Some(between) = text.strip_prefix(&*self.prefix).and_then(|rest| rest.strip_suffix(suffix)) else {
            return false;
        };
        let mut rest = between.as_bytes();
        for piece in &self.middle {
            let Some(after) = piece.find(rest).and_then(|at| rest.get(at + piece.needle().len()..)) else {
                return false;
            };
            rest = after;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Glob;

    /// The obvious matcher, exponential and all.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => {
                naive(rest, text) || text.split_first().is_some_and(|(_, shorter)| naive(pattern, shorter))
            }
            Some((wanted, rest)) => text.split_first().is_some_and(|(got, after)| got == wanted && naive(rest, after)),
        }
    }

    #[test]
    fn prefix_and_suffix_may_not_share_characters() {
        assert!(!Glob::new("aba*aba").matches("aba"));
        assert!(!Glob::new("ab*ba").matches("aba"));
        assert!(Glob::new("ab*ba").matches("abba"));
    }

    #[test]
    fn only_the_star_is_special() {
        for literal in ["a.c", "a?c", "[ac]", "a\\*c"] {
            assert!(!Glob::new(literal).matches("abc"), "{literal}");
        }
        assert!(Glob::new("a\\*c").matches("a\\bc"));
        assert!(!Glob::new("A*").matches("abc"));
    }

    #[test]
    fn only_stars_match_everything_and_nothing_else_is_any() {
        for any in ["*", "**", "****"] {
            assert!(Glob::new(any).is_any());
            assert!(Glob::new(any).matches("") && Glob::new(any).matches("x*é"));
        }
        for not in ["", "a*", "*a", "*a*", "a"] {
            assert!(!Glob::new(not).is_any(), "{not}");
        }
        assert!(Glob::new("").matches("") && !Glob::new("").matches("a"));
    }

    #[test]
    fn a_pattern_covers_what_matches_less() {
        for (wide, narrow) in
            [("*", "a*b*c"), ("a*", "ab*"), ("a*", "abc"), ("*b*", "a*b*c"), ("ab", "ab"), ("a*", "a**")]
        {
            assert!(Glob::new(wide).covers(&Glob::new(narrow)), "{wide} {narrow}");
        }
        for (not, narrow) in [("a*b*c", "*"), ("ab*", "a*"), ("abc", "a*"), ("*ab*", "*a*b*"), ("ab", "abc")] {
            assert!(!Glob::new(not).covers(&Glob::new(narrow)), "{not} {narrow}");
        }
    }

    #[test]
    fn many_stars_against_a_long_text_end_soon() {
        let glob = Glob::new(&"*a".repeat(500));
        assert!(!glob.matches(&format!("{}b", "a".repeat(2_000_000))));
        assert!(glob.matches(&"a".repeat(2_000_000)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]
        #[test]
        fn agrees_with_the_naive_matcher(pattern in "[ab*é]{0,7}", text in "[abé*]{0,9}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(Glob::new(&pattern).matches(&text), naive(&p, &t));
        }

        #[test]
        fn what_is_covered_matches_no_more(wide in "[ab*]{0,5}", narrow in "[ab*]{0,5}", text in "[ab]{0,6}") {
            let (wide, narrow) = (Glob::new(&wide), Glob::new(&narrow));
            prop_assert!(!wide.covers(&narrow) || !narrow.matches(&text) || wide.matches(&text));
        }

        #[test]
        fn a_text_matches_itself_with_parts_starred_out(parts in prop::collection::vec("\\PC{0,4}", 1..5)) {
            let text = parts.concat();
            prop_assert!(Glob::new(&parts.join("*")).matches(&text));
        }
    }
}
