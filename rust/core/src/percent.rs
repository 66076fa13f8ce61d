//! Undoes percent escapes.

use std::borrow::Cow;

/// A text with its `%XX` escapes undone, as far as what they stand for is text. A `%` that begins none is left.
pub(crate) fn decoded(text: &str) -> Cow<'_, str> {
    let (bytes, _) = bytes_of(text);
    if bytes.len() == text.len() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// A text with its `%XX` escapes undone, if every `%` begins one and what they stand for is text.
pub(crate) fn strictly_decoded(text: &str) -> Option<String> {
    let (bytes, is_whole) = bytes_of(text);
    is_whole.then(|| String::from_utf8(bytes).ok()).flatten()
}

/// What a text stands for, and whether every `%` begins an escape.
fn bytes_of(text: &str) -> (Vec<u8>, bool) {
    let (mut bytes, mut is_whole) = (Vec::with_capacity(text.len()), true);
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after.split_first_chunk().and_then(|([high, low], left)| Some((byte(*high, *low)?, left)));
        let (value, left) = match escaped {
            Some(escaped) if first == b'%' => escaped,
            _ => {
                is_whole &= first != b'%';
                (first, after)
            }
        };
        bytes.push(value);
        rest = left;
    }
    (bytes, is_whole)
}

fn byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::{decoded, strictly_decoded};

    #[test]
    fn escapes_are_undone_and_the_rest_is_left() {
        assert_eq!(decoded("a%2Fb%c3%a9%zz%4"), "a/bé%zz%4");
        assert_eq!(decoded("%ff"), "\u{fffd}");
        assert_eq!(decoded("100%"), "100%");
    }

    #[test]
    fn strictly_everything_must_be_an_escape_and_text() {
        assert_eq!(strictly_decoded("a%2Fb%c3%a9").as_deref(), Some("a/bé"));
        for wrong in ["%zz", "%4", "100%", "%ff", "%+1"] {
            assert_eq!(strictly_decoded(wrong), None, "{wrong}");
        }
    }
}
