//! Taking spans out of a text, exactly.

use crate::text::Span;

/// Sort spans and join those that touch or overlap.
pub(crate) fn merge(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    spans.dedup_by(|next, last| {
        let joins = next.start <= last.end;
        if joins {
            last.end = last.end.max(next.end);
        }
        joins
    });
    spans
}

/// Keep what wins where spans overlap: the earlier in `spans` wins, so callers sort by preference. Sorted by place.
pub(crate) fn without_overlaps<T>(
    mut spans: Vec<(Span, T)>,
    prefer: impl Fn(&(Span, T)) -> (u8, usize),
) -> Vec<(Span, T)> {
    spans.sort_by(|a, b| a.0.start.cmp(&b.0.start).then(prefer(b).cmp(&prefer(a))));
    let mut kept: Vec<(Span, T)> = Vec::new();
    for next in spans {
        match kept.last() {
            Some(last) if next.0.start < last.0.end => {
                if prefer(&next) > prefer(last) {
                    kept.pop();
                    kept.push(next);
                }
            }
            _ => kept.push(next),
        }
    }
    kept
}

/// Replace each span by its text. Spans overlap nowhere or are cut to what is left.
pub(crate) fn replace(text: &str, mut edits: Vec<(Span, &'static str)>) -> String {
    edits.sort_by_key(|(span, _)| (span.start, span.end));
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (span, with) in edits {
        if span.end <= at && at > 0 || span.start == span.end {
            continue;
        }
        out.push_str(text.get(at..span.start.max(at)).unwrap_or_default());
        out.push_str(with);
        at = span.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_spans_are_one() {
        assert_eq!(merge(vec![5..7, 0..2, 2..3, 6..9]), [0..3, 5..9]);
    }

    #[test]
    fn every_span_is_replaced_once() {
        assert_eq!(replace("abcdef", vec![(4..5, "[Y]"), (0..2, "[X]")]), "[X]cd[Y]f");
        assert_eq!(replace("abcdef", vec![(0..4, "[X]"), (2..5, "[Y]")]), "[X][Y]f");
        assert_eq!(replace("äb", vec![(0..2, "")]), "b");
    }
}
