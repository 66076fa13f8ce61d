//! The tables of the model card.

use std::collections::BTreeMap;

use crate::data::Line;

/// The threshold that ships.
const BLOCK: u8 = 70;

/// What a text scored.
#[derive(Debug, Clone, Copy)]
pub struct Judged {
    /// By the scanner without the model.
    pub patterns: u8,
    /// By the model, as the text stands.
    pub learned: u8,
    /// By the scanner with the model.
    pub combined: u8,
}

#[derive(Debug, Default)]
struct Row {
    texts: usize,
    blocked: [usize; 3],
}

impl Row {
    fn add(&mut self, judged: Judged) {
        self.texts += 1;
        for (count, score) in self.blocked.iter_mut().zip([judged.patterns, judged.learned, judged.combined]) {
            *count += usize::from(score >= BLOCK);
        }
    }

    fn print(&self, name: &str) {
        let [patterns, learned, combined] = self.blocked.map(|count| count as f32 * 100.0 / self.texts as f32);
        println!("| {name} | {} | {patterns:.1} | {learned:.1} | {combined:.1} |", self.texts);
    }
}

/// Per cent blocked, of attacks and of ordinary texts, all together and by kind and source.
pub fn print(title: &str, judged: &[(&Line, Judged)]) {
    for (label, name) in [(1, "attacks"), (0, "ordinary")] {
        let mut all = Row::default();
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        for (line, judged) in judged.iter().filter(|(line, _)| line.label == label && !line.is_unknown()) {
            let harmful = line.category.starts_with("harmful");
            let source: String = line.source.chars().take(30).collect();
            let name = if label == 1 { format!("{}, {source}", line.kind()) } else { line.kind() };
            rows.entry(name).or_default().add(*judged);
            if !harmful {
                all.add(*judged);
            }
        }
        if all.texts > 0 {
            println!("\n{title}\n\n| {name} | texts | patterns | model | combined |\n|---|---:|---:|---:|---:|");
            all.print("ALL");
            rows.iter().for_each(|(name, row)| row.print(name));
        }
    }
}
