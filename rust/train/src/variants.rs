//! A text told in other ways: planted in another one, cut, in codes, misread, misspelt.

use kalguard_core::text::align;

use crate::grammar::Grammar;
use crate::random::Random;

/// Put a text into a carrier of the grammar's.
pub fn carry(grammar: &Grammar, payload: &str, random: &mut Random) -> (String, (usize, usize)) {
    let carrier = grammar.draw(if random.chance(30) { "carrier" } else { "p_carrier" }, random);
    let at = carrier.find("SLOT").expect("a carrier has a slot");
    (carrier.replacen("SLOT", payload, 1), (at, at + payload.len()))
}

/// Put a text into a document: before, behind, or at the end of a sentence.
pub fn insert(document: &str, payload: &str, random: &mut Random) -> (String, (usize, usize)) {
    let document = cut(document, 1500, random);
    let ends: Vec<usize> = document
        .match_indices([' ', '\n'])
        .map(|(at, _)| at)
        .filter(|&at| at > 0 && matches!(document.as_bytes()[at - 1], b'.' | b'!' | b'?' | b'\n' | b','))
        .collect();
    let at = match random.below(3) {
        0 => 0,
        1 => document.len(),
        _ if ends.is_empty() => document.len(),
        _ => *random.pick(&ends),
    };
    let gap = *random.pick(&["\n", " ", "\n\n"]);
    let head = format!("{}{gap}", &document[..at]);
    (format!("{head}{payload}{gap}{}", &document[at..]), (head.len(), head.len() + payload.len()))
}

/// At most so many bytes of a text, from somewhere in it.
pub fn cut<'a>(text: &'a str, most: usize, random: &mut Random) -> &'a str {
    if text.len() <= most {
        return text;
    }
    let most = most / (1 + random.below(4));
    let start = random.below(text.len() - most);
    &text[align(text, start..start + most)]
}

/// Write a text in one of the usual codes: a code is no attack.
pub fn encode(text: &str, random: &mut Random) -> String {
    let coded: String = match random.below(5) {
        0 => text.chars().flat_map(|c| [c, ' ']).collect(),
        1 => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        2 => text
            .bytes()
            .map(
                |byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") },
            )
            .collect(),
        3 => text
            .chars()
            .map(|c| match c {
                'a'..='m' | 'A'..='M' => char::from(c as u8 + 13),
                'n'..='z' | 'N'..='Z' => char::from(c as u8 - 13),
                _ => c,
            })
            .collect(),
        _ => text.chars().rev().collect(),
    };
    let lead = random.pick(&[
        "",
        "What does this say? ",
        "Decode this for me: ",
        "payload=",
        "value: ",
        "Please decode: ",
        "The field contains ",
    ]);
    format!("{lead}{coded}")
}

/// An ordinary text as the scanner reads it when it takes it for a cipher that it is not: shifted letters, the alphabet
/// backwards, or mirrored. Such readings are nonsense, and must not look like an attack.
pub fn misread(text: &str, random: &mut Random) -> String {
    let shift = *random.pick(&[13, 13, 1, 3, 5, 23, 25]);
    let turn = |c: u8, base: u8| char::from(base + (c - base + shift) % 26);
    match random.below(4) {
        0 => text.chars().rev().collect(),
        1 => text
            .chars()
            .map(|c| match c {
                'a'..='z' => char::from(b'z' - (c as u8 - b'a')),
                'A'..='Z' => char::from(b'z' - (c as u8 - b'A')),
                _ => c,
            })
            .collect(),
        _ => text
            .chars()
            .map(|c| match c {
                'a'..='z' => turn(c as u8, b'a'),
                'A'..='Z' => turn(c as u8, b'A'),
                _ => c,
            })
            .collect(),
    }
}

/// Misspell: swap, drop, double or replace letters; drop vowels; hyphenate; shout (which folding levels).
pub fn noise(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let style = random.below(5);
    let mut out = String::with_capacity(text.len());
    if style == 0 {
        // Vowels go, except at the start of words.
        for (at, c) in chars.iter().enumerate() {
            let inner = at > 0 && chars[at - 1].is_alphabetic();
            if !(inner && "aeiou".contains(*c) && random.chance(70)) {
                out.push(*c);
            }
        }
        return out;
    }
    let rate = 1 + random.below(7);
    for at in 0..chars.len() {
        if !chars[at].is_alphabetic() || !random.chance(rate) {
            out.push(chars[at]);
            continue;
        }
        match style {
            1 if at + 1 < chars.len() && chars[at + 1].is_alphabetic() => {
                chars.swap(at, at + 1);
                out.push(chars[at]);
            }
            2 => {}
            3 => out.extend([chars[at], chars[at]]),
            4 => out.extend([chars[at], *random.pick(&['-', '.', '*', '_', ' '])]),
            _ => out.push(char::from(b'a' + random.below(26) as u8)),
        }
    }
    out
}
