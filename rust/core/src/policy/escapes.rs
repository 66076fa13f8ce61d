//! Undoes percent escapes.

use std::borrow::Cow;

/// A text with its `%XX` escapes undone, as far as what they stand for is text.
pub(super) fn percent_decoded(text: &str) -> Cow<'_, str> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let (value, left) = match after {
            [high, low, left @ ..] if byte == b'%' => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, left),
                _ => (byte, after),
            },
            _ => (byte, after),
        };
        decoded.push(value);
        rest = left;
    }
    if decoded.len() == text.len() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn escapes_are_undone_and_the_rest_is_left() {
        assert_eq!(percent_decoded("a%2Fb%c3%a9%zz%4"), "a/bé%zz%4");
        assert_eq!(percent_decoded("%ff"), "\u{fffd}");
        assert_eq!(percent_decoded("100%"), "100%");
    }
}
