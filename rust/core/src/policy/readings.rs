//! The texts that a text may be read as, before it is taken for an address or a path.

use unicode_normalization::UnicodeNormalization;

use crate::percent;

/// How often escapes are undone. Each round reads the whole text, so that there has to be an end.
const ROUNDS: usize = 4;

/// The readings of a text, itself first: as it stands, without the characters that readers drop, and in compatibility
/// forms without them, each of these with escapes undone up to four times.
pub(super) fn of(text: &str) -> Vec<String> {
    let mut found = vec![text.to_owned()];
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'%') {
        return found;
    }
    for prepare in [str::to_owned, without_dropped, folded] {
        let mut current = prepare(text);
        for _ in 0..ROUNDS {
            let next = prepare(&percent::decoded(&current));
            let was_last = next == current;
            push_new(&mut found, current);
            current = next;
            if was_last {
                break;
            }
        }
        push_new(&mut found, current);
    }
    found
}

/// Whether some readers drop a character: control characters, and what Unicode says may be ignored.
pub(super) fn is_dropped(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
            | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
            | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF)
}

fn without_dropped(text: &str) -> String {
    text.chars().filter(|c| !is_dropped(*c)).collect()
}

/// Compatibility forms, and the ideographic full stop as the dot that it is in names of hosts.
fn folded(text: &str) -> String {
    text.nfkc().filter(|c| !is_dropped(*c)).map(|c| if c == '\u{3002}' { '.' } else { c }).collect()
}

fn push_new(found: &mut Vec<String>, reading: String) {
    if !found.contains(&reading) {
        found.push(reading);
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn a_plain_text_has_one_reading() {
        assert_eq!(of("https://example.com/a?b"), ["https://example.com/a?b"]);
    }

    #[test]
    fn escapes_are_undone_four_times() {
        assert_eq!(of("%25252541"), ["%25252541", "%252541", "%2541", "%41", "A"]);
        assert!(!of("%2525252541").contains(&"A".to_owned()));
    }

    #[test]
    fn dropped_characters_are_read_with_and_without() {
        assert_eq!(of("a\t\u{200b}b"), ["a\t\u{200b}b", "ab"]);
        assert_eq!(of("１%EF%BC%91").last().map(String::as_str), Some("11"));
    }

    #[test]
    fn the_readings_of_a_text_full_of_escapes_are_few() {
        let readings = of(&"%25".repeat(100_000));
        assert!(readings.len() <= 15 && readings.iter().map(String::len).sum::<usize>() < 5_000_000);
    }
}
