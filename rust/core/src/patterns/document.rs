//! Patterns as they are written: the catalogue's files and the operator's, in one format.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Pattern, Rule};
use crate::error::CompileError;
use crate::fields::{Fields, Mistakes, decode, quote};
use crate::finding::{Category, Part};
use crate::phrase::parse;

/// A file with more patterns than this is a mistake: each costs time on every text.
const MAX_PATTERNS: usize = 1000;
/// Expressions are searched for one by one.
const MAX_EXPRESSIONS: usize = 100;
/// Characters of a phrase, an expression or an example.
const MAX_CHARS: usize = 4000;

/// A file of patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PatternsFile {
    /// What to look for.
    pub patterns: Vec<Pattern>,
    /// Parts (`harmful`), categories (`injection.delimiter`) and ids of which hits are reported but have no effect.
    pub monitored: Vec<String>,
    /// Phrases that are not looked at, as whole words, in any case.
    pub allowed: Vec<String>,
}

impl PatternsFile {
    /// Read a file. That its patterns do what their examples say is for [`crate::detect::Detector::check_examples`] to find out.
    ///
    /// # Errors
    /// [`CompileError::Pattern`] with all mistakes, each with pattern and field.
    pub fn read(document: &[u8]) -> Result<Self, CompileError> {
        read(document, Origin::Operator).map_err(CompileError::Pattern)
    }
}

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The catalogue's. Only it may have `needles`: one that is wrong makes a pattern blind.
    Shipped,
    /// The operator's.
    Operator,
}

/// Read a file. The error tells all mistakes.
pub(super) fn read(document: &[u8], origin: Origin) -> Result<PatternsFile, String> {
    let top = decode(document)?;
    let mut mistakes = Mistakes::default();
    let mut fields = Fields::new(String::new(), "", &top);
    fields.string(&mut mistakes, "version");
    let lists = lists(&mut fields, &mut mistakes);
    let written = fields.list(&mut mistakes, "patterns").unwrap_or_default();
    let patterns = Reader { lists, origin }.patterns(written, &mut mistakes);
    let monitored = modes(&mut fields, &mut mistakes);
    let allowed = fields.strings(&mut mistakes, "allow").unwrap_or_default();
    fields.end(&mut mistakes);
    mistakes.end()?;
    Ok(PatternsFile { patterns, monitored, allowed: allowed.into_iter().map(str::to_owned).collect() })
}

/// Names for lists of words that several phrases share.
fn lists(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> BTreeMap<String, String> {
    let Some(written) = fields.object(mistakes, "lists") else { return BTreeMap::new() };
    let mut lists = BTreeMap::new();
    for (name, value) in written {
        let words: Option<Vec<&str>> = value.as_array().and_then(|words| words.iter().map(Value::as_str).collect());
        let is_word = |word: &&str| !word.is_empty() && !word.contains([' ', '|', '~', '$']);
        match words.filter(|words| !words.is_empty() && words.iter().all(is_word)) {
            Some(words) => drop(lists.insert(name.clone(), words.join("|"))),
            None => mistakes
                .add("", format!("`lists.{}` must be a list of words, with `_` in place of a space", quote(name))),
        }
    }
    lists
}

/// Reads patterns with the lists of their file.
struct Reader {
    /// Name -> words with `|` between them.
    lists: BTreeMap<String, String>,
    origin: Origin,
}

impl Reader {
    fn patterns(&self, written: &[Value], mistakes: &mut Mistakes) -> Vec<Pattern> {
        let mut ids: BTreeMap<String, usize> = BTreeMap::new();
        let mut patterns = Vec::with_capacity(written.len().min(MAX_PATTERNS));
        for (index, value) in written.iter().enumerate().take(MAX_PATTERNS) {
            let Some(object) = value.as_object() else {
                mistakes.add(&format!("`patterns[{index}]`"), "must be an object");
                continue;
            };
            let Some(pattern) = self.pattern(index, object, mistakes) else { continue };
            if let Some(first) = ids.insert(pattern.id.clone(), index) {
                mistakes.add(&place_of(index, &pattern.id), format!("`id` is taken by the pattern at index {first}"));
            }
            patterns.push(pattern);
        }
        if written.len() > MAX_PATTERNS {
            mistakes.add("", format!("`patterns` holds {}, more than {MAX_PATTERNS}", written.len()));
        }
        let expressions = patterns.iter().filter(|pattern| matches!(pattern.rule, Rule::Shape { .. })).count();
        if expressions > MAX_EXPRESSIONS {
            mistakes.add("", format!("`patterns` holds {expressions} with `regex`, more than {MAX_EXPRESSIONS}"));
        }
        patterns
    }

    /// One pattern; `None` when a mistake was noted.
    fn pattern(&self, index: usize, written: &Map<String, Value>, mistakes: &mut Mistakes) -> Option<Pattern> {
        let id = written.get("id").and_then(Value::as_str).unwrap_or_default();
        let mut fields = Fields::new(place_of(index, id), "", written);
        let id = fields.name(mistakes, "id").to_owned();
        if !id.is_empty() && !is_id(&id) {
            fields.wrong(
                mistakes,
                "id",
                "must be lower-case words with dots between them, such as `acme.secret_project`",
            );
        }
        fields.string(mistakes, "language");
        let category = category(&mut fields, mistakes);
        let score = score(&mut fields, mistakes);
        let rule = self.rule(&mut fields, mistakes);
        let returned_only = match fields.string(mistakes, "place") {
            None | Some("any") => false,
            Some("tool") => true,
            Some(other) => {
                fields.wrong(mistakes, "place", &format!("must be `any` or `tool`, not `{}`", quote(other)));
                false
            }
        };
        let matches = examples(&mut fields, mistakes, "matches");
        let not = examples(&mut fields, mistakes, "not");
        if matches.is_empty() {
            fields.wrong(mistakes, "matches", "must hold an example: a pattern that finds nothing protects nobody");
        }
        fields.end(mistakes);
        Some(Pattern { id, category: category?, score: score?, rule: rule?, returned_only, matches, not })
    }

    fn rule(&self, fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<Rule> {
        let (phrase, regex) = (text(fields, mistakes, "phrase"), text(fields, mistakes, "regex"));
        let shipped = self.origin == Origin::Shipped;
        let needles = if shipped { fields.strings(mistakes, "needles") } else { None };
        match (phrase, regex) {
            (Some(phrase), None) => self.phrase(phrase).map_err(|why| fields.wrong(mistakes, "phrase", &why)).ok(),
            (None, Some(regex)) => {
                let needles = needles.unwrap_or_default().into_iter().map(str::to_owned).collect();
                Some(Rule::Shape { needles, regex: regex.to_owned() })
            }
            (Some(_), Some(_)) | (None, None) => {
                fields.wrong(mistakes, "phrase", "or `regex` must be there, and not both");
                None
            }
        }
    }

    /// A phrase with lists in place of their names (`$name`).
    fn phrase(&self, written: &str) -> Result<Rule, String> {
        let step = |step: &str| -> Result<String, String> {
            // A `$` before anything but a name is a `$`.
            let is_name = |name: &&str| name.starts_with(|c: char| c.is_ascii_lowercase());
            let words = step.split('|').map(|word| match word.strip_prefix('$').filter(is_name) {
                Some(name) => self
                    .lists
                    .get(name)
                    .map(String::as_str)
                    .ok_or_else(|| format!("names the list `{}`, which there is none of", quote(name))),
                None => Ok(word),
            });
            Ok(words.collect::<Result<Vec<_>, _>>()?.join("|"))
        };
        let phrase = written.split_whitespace().map(step).collect::<Result<Vec<_>, _>>()?.join(" ");
        parse(&phrase).map_err(|error| format!("cannot be used: {error}"))?;
        Ok(Rule::Phrase(phrase))
    }
}

fn place_of(index: usize, id: &str) -> String {
    if id.is_empty() { format!("pattern at index {index}") } else { format!("pattern `{}` (index {index})", quote(id)) }
}

fn is_id(id: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    id.len() <= 64 && id.contains('.') && id.split('.').all(is_word)
}

fn category(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<Category> {
    let name = fields.name(mistakes, "category");
    let found = Category::parse(name).filter(|category| category.part() != Part::Abnormality);
    if found.is_none() && !name.is_empty() {
        let what = format!("must be a category of `injection`, `harmful` or `pii`, not `{}`", quote(name));
        fields.wrong(mistakes, "category", &what);
    }
    found
}

fn score(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<u8> {
    let score = fields.value("score").and_then(Value::as_u64).and_then(|score| u8::try_from(score).ok());
    let score = score.filter(|score| (1..=100).contains(score));
    if score.is_none() {
        fields.wrong(mistakes, "score", "must be a whole number from 1 to 100");
    }
    score
}

fn text<'a>(fields: &mut Fields<'a>, mistakes: &mut Mistakes, name: &'static str) -> Option<&'a str> {
    let text = fields.string(mistakes, name)?;
    if text.chars().nth(MAX_CHARS).is_some() {
        fields.wrong(mistakes, name, &format!("is longer than {MAX_CHARS} characters"));
    }
    Some(text)
}

fn examples(fields: &mut Fields<'_>, mistakes: &mut Mistakes, name: &'static str) -> Vec<String> {
    let examples = fields.strings(mistakes, name).unwrap_or_default();
    if examples.iter().any(|example| example.chars().nth(MAX_CHARS).is_some()) {
        fields.wrong(mistakes, name, &format!("holds an example longer than {MAX_CHARS} characters"));
    }
    examples.into_iter().map(str::to_owned).collect()
}

fn modes(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Vec<String> {
    let Some(written) = fields.object(mistakes, "modes") else { return Vec::new() };
    let mut monitored = Vec::new();
    for (name, mode) in written {
        match mode.as_str() {
            Some("monitor") => monitored.push(name.clone()),
            Some("enforce") => {}
            _ => mistakes.add("", format!("`modes.{}` must be `enforce` or `monitor`", quote(name))),
        }
    }
    monitored
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn mistake(document: &str) -> String {
        PatternsFile::read(document.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read() {
        let file = PatternsFile::read(
            br#"{"lists": {"verb": ["leak", "give_away"]},
                 "patterns": [{"id": "acme.falcon", "category": "injection.exfiltration", "score": 80,
                               "phrase": "$verb|tell ~20 project_falcon", "matches": ["leak project falcon"]},
                              {"id": "acme.staff_number", "category": "pii.secret", "score": 20, "place": "tool",
                               "regex": "emp-[0-9]{6}", "matches": ["EMP-123456"]}],
                 "modes": {"harmful": "monitor", "injection": "enforce"}, "allow": ["ignore the previous row"]}"#,
        )
        .unwrap();
        assert_eq!(file.patterns.len(), 2);
        assert!(
            matches!(&file.patterns[0].rule, Rule::Phrase(words) if words == "leak|give_away|tell ~20 project_falcon")
        );
        assert!(file.patterns[1].returned_only);
        assert_eq!(file.monitored, ["harmful"]);
        assert_eq!(file.allowed, ["ignore the previous row"]);
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let told = mistake(
            r#"{"patterns": [{"id": "Acme", "category": "injection.sorcery", "score": 0, "phrase": "$verb", "regex": "x",
                 "place": "here", "wieght": 1}], "modes": {"pii": "off"}, "lists": {"verb": ["two words"]}, "pattern": []}"#,
        );
        for part in [
            "`lists.verb` must be a list of words",
            "pattern `Acme` (index 0): `id` must be",
            "`category` must be a category of `injection`, `harmful` or `pii`, not `injection.sorcery`",
            "`score` must be a whole number from 1 to 100",
            "`phrase` or `regex` must be there, and not both",
            "`place` must be `any` or `tool`, not `here`",
            "`matches` must hold an example",
            "and 2 more",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(mistake(r#"{"modes": {"pii": "off"}}"#).contains("`modes.pii` must be `enforce` or `monitor`"));
        assert!(mistake(r#"{"pattern": []}"#).contains("unknown key `pattern`"));
        let unnamed =
            r#"{"patterns": [{"id": "a.b", "category": "pii.email", "score": 1, "phrase": "$x", "matches": ["y"]}]}"#;
        assert!(mistake(unnamed).contains("names the list `x`"));
    }
}
