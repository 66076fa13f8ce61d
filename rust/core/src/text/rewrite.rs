//! Rewriting a text here and there: what was changed, with some of the text around it.
//!
//! A reading of a long text of which one word was changed would cost as much as the text. What is far from every
//! change was read before and is left out.

use super::{Span, View, align};

/// So many bytes around a change are kept: more than lie between the words of a phrase.
pub(super) const AROUND: usize = 64;

/// A view in the making.
pub(super) struct Rewrite<'a> {
    text: &'a str,
    /// What was written so far.
    pub(super) view: View,
    /// The text up to here is written or left out.
    done: usize,
    changes: usize,
}

impl<'a> Rewrite<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, view: View::default(), done: 0, changes: 0 }
    }

    /// What follows in the view stands for `span`. The text between the last change and this one is copied, or its ends.
    pub(super) fn change(&mut self, span: &Span) {
        if self.changes > 0 && span.start.saturating_sub(self.done) <= 2 * AROUND {
            self.copy(self.done..span.start);
        } else {
            self.finish_change();
            self.copy(span.start.saturating_sub(AROUND).max(self.done)..span.start);
        }
        self.done = span.end;
        self.changes += 1;
    }

    /// The view, with the text after the last change; `None` when nothing was changed.
    pub(super) fn finish(mut self) -> Option<View> {
        self.finish_change();
        (self.changes > 0).then_some(self.view)
    }

    fn finish_change(&mut self) {
        if self.changes > 0 {
            // Copying goes on to the end of a character, and moves `done` there.
            self.copy(self.done..(self.done + AROUND).min(self.text.len()));
            if self.done < self.text.len() {
                self.view.push('\n', self.done..self.done);
            }
        }
    }

    fn copy(&mut self, span: Span) {
        if span.start < span.end {
            let span = align(self.text, span);
            self.view.push_copied(self.text.get(span.clone()).unwrap_or_default(), span.start);
            self.done = span.end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_keep_what_is_near() {
        let text = format!("{}one two{}three{}", "ä".repeat(100), "-".repeat(400), "=".repeat(400));
        let mut rewrite = Rewrite::of(&text);
        for (old, new) in [("one", "1"), ("two", "2"), ("three", "3")] {
            let at = text.find(old).unwrap_or_default();
            rewrite.change(&(at..at + old.len()));
            new.chars().for_each(|c| rewrite.view.push(c, at..at + old.len()));
        }
        let view = rewrite.finish().unwrap_or_default();
        let (ends, signs) = ("-".repeat(AROUND), "=".repeat(AROUND));
        assert_eq!(view.text(), format!("{}1 2{ends}\n{ends}3{signs}\n", "ä".repeat(AROUND / 2)));
        for (new, old) in [("1", "one"), ("2", "two"), ("3", "three"), ("1 2", "one two")] {
            let at = view.text().find(new).unwrap_or_default();
            assert_eq!(text.get(view.origin(at..at + new.len())), Some(old));
        }
        assert!(Rewrite::of(&text).finish().is_none());
    }
}
