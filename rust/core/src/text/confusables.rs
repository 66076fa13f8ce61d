//! Characters that look like Latin letters, and characters that show nothing.
//!
//! The table is a skeleton, not a transliteration: `в` becomes `b` although it is a `v`, because that is what it is
//! mistaken for. Texts and patterns go through the same table, so Russian patterns still match Russian.

use std::sync::OnceLock;

use super::lookalikes::LOOKALIKES;

/// The ASCII text which a character passes for.
pub(super) fn skeleton(c: char) -> Option<&'static str> {
    Some(match c {
        // Cyrillic
        'а' | 'А' => "a",
        'в' | 'В' => "b",
        'с' | 'С' => "c",
        'ԁ' => "d",
        'е' | 'Е' | 'ё' | 'Ё' => "e",
        'һ' | 'Һ' | 'н' | 'Н' => "h",
        'і' | 'І' | 'ї' | 'Ї' => "i",
        'ј' | 'Ј' => "j",
        'к' | 'К' => "k",
        'ӏ' | 'Ӏ' => "l",
        'м' | 'М' => "m",
        'о' | 'О' => "o",
        'р' | 'Р' => "p",
        'ԛ' | 'Ԛ' => "q",
        'ѕ' | 'Ѕ' => "s",
        'т' | 'Т' => "t",
        'у' | 'У' | 'ү' | 'Ү' => "y",
        'ѵ' | 'Ѵ' => "v",
        'ԝ' | 'Ԝ' => "w",
        'х' | 'Х' => "x",
        // Greek
        'α' | 'Α' => "a",
        'Β' | 'β' => "b",
        'ϲ' | 'Ϲ' => "c",
        'ε' | 'Ε' => "e",
        'Η' => "h",
        'ι' | 'Ι' => "i",
        'ϳ' => "j",
        'κ' | 'Κ' => "k",
        'Μ' => "m",
        'Ν' | 'η' => "n",
        'ο' | 'Ο' | 'σ' => "o",
        'ρ' | 'Ρ' => "p",
        'τ' | 'Τ' => "t",
        'υ' => "u",
        'Υ' | 'γ' => "y",
        'ν' => "v",
        'ω' => "w",
        'Χ' | 'χ' => "x",
        'Ζ' => "z",
        // Armenian, Cherokee
        'օ' => "o",
        'ս' => "u",
        'հ' => "h",
        'ո' => "n",
        'ց' => "g",
        'Ꭺ' => "a",
        'Ᏼ' => "b",
        'Ꮯ' => "c",
        'Ꭼ' => "e",
        'Ꮋ' => "h",
        'Ꮖ' => "i",
        'Ꮶ' => "k",
        'Ꮮ' => "l",
        'Ꮇ' => "m",
        'Ꮲ' => "p",
        'Ꭱ' => "r",
        'Ꮪ' => "s",
        'Ꭲ' => "t",
        // Latin look-alikes, small capitals, letters with strokes
        'ɑ' | 'ᴀ' => "a",
        'ʙ' => "b",
        'ᴄ' => "c",
        'ᴅ' | 'đ' | 'Đ' | 'ð' => "d",
        'ᴇ' | 'ǝ' | 'ə' => "e",
        'ꜰ' => "f",
        'ɡ' | 'ɢ' => "g",
        'ʜ' | 'ħ' | 'Ħ' => "h",
        'ı' | 'ɩ' | 'ɪ' | 'ɨ' => "i",
        'ᴊ' => "j",
        'ᴋ' => "k",
        'ʟ' | 'ł' | 'Ł' | 'ǀ' => "l",
        'ᴍ' => "m",
        'ɴ' => "n",
        'ᴏ' | 'ø' | 'Ø' => "o",
        'ᴘ' => "p",
        'ʀ' => "r",
        'ꜱ' => "s",
        'ᴛ' | 'ŧ' | 'Ŧ' => "t",
        'ᴜ' => "u",
        'ᴠ' => "v",
        'ᴡ' => "w",
        'ʏ' => "y",
        'ᴢ' => "z",
        'ß' | 'ẞ' => "ss",
        'æ' | 'Æ' => "ae",
        'œ' | 'Œ' => "oe",
        // punctuation
        '‘' | '’' | '‚' | '‛' | '′' | 'ʼ' | '`' | '´' => "'",
        '“' | '”' | '„' | '«' | '»' | '″' => "\"",
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => "-",
        '。' => ".",
        '、' => ",",
        // Braille
        '\u{2800}' => " ",
        '\u{2801}'..='\u{283f}' => return braille(c),
        _ => return lookalike(c),
    })
}

/// Letters in the order of the alphabet, as dots of Braille.
const BRAILLE: &str = "⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚⠅⠇⠍⠝⠕⠏⠟⠗⠎⠞⠥⠧⠺⠭⠽⠵";
const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz";

fn braille(c: char) -> Option<&'static str> {
    let letter = BRAILLE.chars().position(|dots| dots == c)?;
    ALPHABET.get(letter..=letter)
}

/// What Unicode's security data says the character looks like.
fn lookalike(c: char) -> Option<&'static str> {
    static LETTERS: OnceLock<Vec<(char, usize)>> = OnceLock::new();
    // Nothing between is in the table, and most of the world's text is.
    if matches!(u32::from(c), 0x370..=0x45F | 0x590..=0x139F | 0x3000..=0x9FFF | 0xAC00..=0xFFFF) {
        return None;
    }
    let letters = LETTERS.get_or_init(|| {
        let place = |letter: char| ALPHABET.chars().position(|other| other == letter).unwrap_or_default();
        let all = LOOKALIKES.iter().flat_map(|&(letter, like)| like.chars().map(move |c| (c, place(letter))));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable();
        all
    });
    let at = letters.binary_search_by_key(&c, |&(like, _)| like).ok()?;
    let &(_, letter) = letters.get(at)?;
    ALPHABET.get(letter..=letter)
}

/// Enclosed letters that compatibility decomposition leaves alone or in brackets: parenthesised, negative circled, negative squared, regional.
pub(super) fn enclosed(c: char) -> Option<char> {
    let code = u32::from(c);
    let letter = match code {
        0x249C..=0x24B5 => code - 0x249C,
        0x1F150..=0x1F169 => code - 0x1F150,
        0x1F170..=0x1F189 => code - 0x1F170,
        0x1F1E6..=0x1F1FF => code - 0x1F1E6,
        _ => return None,
    };
    char::from_u32(u32::from('a') + letter)
}

/// The ASCII character that a Unicode tag character carries.
pub(super) fn tag(c: char) -> Option<char> {
    let code = u32::from(c);
    if (0xE0020..=0xE007E).contains(&code) { char::from_u32(code - 0xE0000) } else { None }
}

/// Whether a character shows nothing: zero-width, bidirectional control, variation selector, soft hyphen, filler.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
        | 0x202A..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF9..=0xFFFB
        | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF)
}

/// Whether a mark only decorates its letter, so that the letter is read without it.
pub(super) fn is_decoration(c: char) -> bool {
    matches!(u32::from(c),
        0x300..=0x36F | 0x483..=0x489 | 0x591..=0x5C7 | 0x610..=0x61A | 0x64B..=0x65F | 0x670 | 0x1AB0..=0x1AFF
        | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF | 0xFE20..=0xFE2F)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_look_alike_are_one() {
        for (like, letter) in [('ꓲ', "l"), ('Ꮐ', "g"), ('ո', "n"), ('\u{1d11}', "o"), ('⠑', "e"), ('ŋ', "n")] {
            assert_eq!(skeleton(like), Some(letter), "{like}");
        }
        assert_eq!(enclosed('⒤'), Some('i'));
        for alone in ['ب', 'ש', 'ह', '中', 'か', '한', 'ж', 'λ', 'ไ'] {
            assert_eq!(skeleton(alone), None, "{alone}");
        }
    }
}
