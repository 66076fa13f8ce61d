//! Sentences by mechanism: templates with alternatives and references, expanded at random.

use std::collections::HashMap;

use crate::random::Random;

/// Lists of templates by name.
#[derive(Debug, Clone, Default)]
pub struct Grammar {
    lists: HashMap<String, Vec<String>>,
}

impl Grammar {
    /// Read templates: `@name` starts a list, `#` a comment before the first list, every other line is a template.
    /// An empty line between the templates of a list is a template that says nothing.
    pub fn add(&mut self, source: &str) {
        let mut name: Option<String> = None;
        for line in source.lines() {
            if let Some(next) = line.strip_prefix('@') {
                name = Some(next.to_owned());
                continue;
            }
            if let Some(name) = &name {
                self.lists.entry(name.clone()).or_default().push(line.to_owned());
            }
        }
    }

    /// Set a list to texts that are used as they are.
    pub fn set(&mut self, name: &str, texts: &[String]) {
        let escaped = texts.iter().map(|text| {
            let mut out = String::new();
            for c in text.chars() {
                if matches!(c, '{' | '}' | '|' | '$' | '\\' | '«' | '»') {
                    out.push('\\');
                }
                out.push(c);
            }
            out
        });
        self.lists.insert(name.to_owned(), escaped.collect());
    }

    /// One text from a list.
    pub fn draw(&self, name: &str, random: &mut Random) -> String {
        let mut out = String::new();
        self.list(name, random, &mut out, 0);
        out.trim().to_owned()
    }

    fn list(&self, name: &str, random: &mut Random, out: &mut String, depth: usize) {
        let list = self.lists.get(name).unwrap_or_else(|| panic!("no list `{name}`"));
        let template = random.pick(list).clone();
        self.expand(&template.chars().collect::<Vec<_>>(), random, out, depth + 1);
    }

    fn expand(&self, template: &[char], random: &mut Random, out: &mut String, depth: usize) {
        if depth > 20 {
            return;
        }
        let mut at = 0;
        while at < template.len() {
            match template[at] {
                '\\' => {
                    at += 1;
                    match template.get(at) {
                        Some('n') => out.push('\n'),
                        Some(&c) => out.push(c),
                        None => {}
                    }
                }
                '{' => {
                    let (alternatives, end) = alternatives(template, at);
                    let chosen = *random.pick(&alternatives);
                    self.expand(&template[chosen.0..chosen.1], random, out, depth);
                    at = end;
                }
                '$' => {
                    let end =
                        at + 1 + template[at + 1..].iter().take_while(|c| c.is_ascii_lowercase() || **c == '_').count();
                    let name: String = template[at + 1..end].iter().collect();
                    if name.is_empty() {
                        out.push('$');
                    } else {
                        self.list(&name, random, out, depth);
                        at = end - 1;
                    }
                }
                '«' => out.push('{'),
                '»' => out.push('}'),
                ' ' if out.ends_with(' ') => {}
                c => out.push(c),
            }
            at += 1;
        }
    }
}

/// The alternatives of a group that opens at `open`, and where it closes.
fn alternatives(template: &[char], open: usize) -> (Vec<(usize, usize)>, usize) {
    let (mut found, mut depth, mut start, mut at) = (Vec::new(), 0, open + 1, open);
    while at < template.len() {
        match template[at] {
            '\\' => at += 1,
            '{' => depth += 1,
            '|' if depth == 1 => {
                found.push((start, at));
                start = at + 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    found.push((start, at));
                    return (found, at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    panic!("a group is not closed: {}", template.iter().collect::<String>());
}
