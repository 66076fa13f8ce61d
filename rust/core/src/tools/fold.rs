//! The form in which texts and forbidden commands are compared.
//!
//! What a shell would read the same looks the same here: case, compatibility forms (fullwidth letters), runs of white
//! space, `${IFS}`, quotes and backslashes inside words, characters that cannot be seen. Linear in the text, but for runs of
//! combining marks, which normalisation sorts.
//! Not undone: escapes (`$'\x73h'`), variables, brace expansion, encodings such as base64.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization;

/// What backslashes become. A shell drops them, Windows has paths of them; a text is looked at both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backslash {
    Dropped,
    Slash,
}

/// Fold a text.
pub(super) fn fold(text: &str, backslash: Backslash) -> String {
    let mut folded = String::with_capacity(text.len());
    if text.is_ascii() {
        text.chars().for_each(|c| push(&mut folded, c.to_ascii_lowercase(), backslash));
    } else {
        text.nfkc().flat_map(char::to_lowercase).for_each(|c| push(&mut folded, c, backslash));
    }
    match SEPARATOR_VARIABLE.as_ref() {
        Some(variable) if folded.contains("ifs") => {
            let spaced = variable.replace_all(&folded, " $after");
            let mut folded = String::with_capacity(spaced.len());
            spaced.chars().for_each(|c| push(&mut folded, c, backslash));
            folded
        }
        _ => folded,
    }
}

/// The shell's variable that holds white space, written so that it ends where it does. `None` cannot be: it is tested.
static SEPARATOR_VARIABLE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\$\{ifs[^}]{0,32}\}|\$ifs(?:\$[0-9@*])?(?<after>[^a-z0-9_]|$)").ok());

fn push(folded: &mut String, c: char, backslash: Backslash) {
    match c {
        '\\' if backslash == Backslash::Slash => folded.push('/'),
        '\\' | '\'' | '"' | '^' => {}
        _ if c.is_whitespace() => {
            if !folded.is_empty() && !folded.ends_with(' ') {
                folded.push(' ');
            }
        }
        _ if c.is_control() || is_invisible(c) => {}
        _ => folded.push(c),
    }
}

/// Characters that take no place on the page and mean nothing to a shell or interpreter's reader.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::{Backslash, SEPARATOR_VARIABLE, fold};

    fn dropped(text: &str) -> String {
        fold(text, Backslash::Dropped)
    }

    #[test]
    fn what_a_shell_reads_the_same_is_the_same() {
        assert!(SEPARATOR_VARIABLE.is_some());
        for same in [
            "rm -rf /",
            "  RM   -Rf\t/",
            "r''m -r\"\"f /",
            "r\\m -rf /",
            "rm\u{200b} \u{2060}-rf /",
            "\u{ff52}\u{ff4d}\u{3000}-rf\u{a0}/",
            "rm\n\n-rf\r\n/",
            "rm${IFS}-rf${IFS}/",
            "rm$IFS-rf$IFS/",
            "rm$IFS$9-rf ${IFS%??}/",
            "rm \\\n-rf /",
            "rm\u{0} -rf /",
        ] {
            assert_eq!(dropped(same).trim(), "rm -rf /", "{same:?}");
        }
    }

    #[test]
    fn backslashes_may_be_slashes() {
        assert_eq!(fold(r"C:\Windows\CMD.exe", Backslash::Slash), "c:/windows/cmd.exe");
    }

    #[test]
    fn another_variable_is_left_alone() {
        assert_eq!(dropped("$ifsx ${x} gifs"), "$ifsx ${x} gifs");
    }
}
