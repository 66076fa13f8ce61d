//! Scores lines of `{"id","text","role"?}` from standard input as `{"id","score","blocked"}`, for `evaluate.py`;
//! the median time per text goes to standard error.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used)]

use std::io::BufRead as _;
use std::time::Instant;

use kalguard_core::scanner::{Action, Role, Scanner, ScannerConfig, Segment};

fn main() {
    let scanner = Scanner::new(&ScannerConfig::default()).expect("the catalogue compiles");
    let mut times = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let (text, role) = (line["text"].as_str().unwrap(), Role::parse(line["role"].as_str().unwrap_or("user")));
        let begun = Instant::now();
        let scan = scanner.scan(&[Segment { message: 0, role, text }]);
        times.push((text.len(), begun.elapsed().as_nanos() as f64));
        let (score, blocked) = (scan.assessment.score, scan.action == Action::Block);
        println!("{}", serde_json::json!({ "id": line["id"], "score": score, "blocked": blocked }));
    }
    for (from, to) in [(50, 150), (150, 300), (1500, 2500), (0, usize::MAX)] {
        let mut some: Vec<f64> = times.iter().filter(|(len, _)| (from..to).contains(len)).map(|time| time.1).collect();
        some.sort_by(f64::total_cmp);
        if let Some(median) = some.get(some.len() / 2) {
            eprintln!("{from}..{to} bytes: {} texts, median {:.1} us", some.len(), median / 1000.0);
        }
    }
}
