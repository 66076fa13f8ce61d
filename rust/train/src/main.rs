//! Trains the learned scorer: `kalguard-train DATA [OUT [HELD_OUT]]`.
//!
//! First each group of sources is left out in turn, and judged by a model that never saw it: this gives the printed
//! table and the curve from raw scores to 0..100, and with `HELD_OUT` a file of `{"id","learned"}`. Then everything is
//! trained on and written to `OUT`. Seeds are fixed, orders are fixed, nothing is parallel but whole models: the same
//! data gives the same file on the same platform (`exp` is the platform's).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    unreachable_pub
)]

mod data;
mod examples;
mod grammar;
mod learn;
mod random;

use std::collections::BTreeMap;
use std::path::Path;

use kalguard_core::model::{KNOTS, Model, Place, Table, scale};

use data::Line;
use examples::{Example, Recipe, build, without};
use learn::{Linear, Settings, learn};

struct Scored<'a> {
    line: &'a Line,
    raw: f32,
}

fn main() {
    let folder = std::env::args().nth(1).expect("usage: kalguard-train DATA [OUT]");
    let lines = data::read(Path::new(&folder));
    let (mut tables, mut held) = (Vec::new(), String::new());
    let held_out = std::env::args().nth(3);
    for place in [Place::Said, Place::Returned] {
        let recipe = Recipe { attacks: 30_000, ordinary: 20_000, levelling: 0.2, balance: 0.7 };
        let settings = Settings { bits: 18, epochs: 5, rate: 0.1, decay: 0.012, toll: 0.1 };
        let judge = |fold: usize| -> Vec<Scored<'_>> {
            let trained = build(&without(&lines, Some(fold)), place, &recipe, 1);
            let linear = learn(&trained, &settings, 7);
            lines
                .iter()
                .filter(|line| line.fold() == fold && line.place() == place)
                .map(|line| Scored { line, raw: linear.score(&Example::new(&line.text, false, 1.0, None)) })
                .collect()
        };
        let scored: Vec<Scored<'_>> = std::thread::scope(|scope| {
            let a = scope.spawn(|| [0, 1, 2].map(&judge).into_iter().flatten().collect::<Vec<_>>());
            let b = scope.spawn(|| [3, 4, 5, 6].map(&judge).into_iter().flatten().collect::<Vec<_>>());
            a.join().unwrap().into_iter().chain(b.join().unwrap()).collect()
        });
        let rate = if place == Place::Said { 0.004 } else { 0.0025 };
        let knots = curve(&scored, rate);
        report(&scored, &knots);
        if let Some(path) = &held_out {
            for s in &scored {
                held.push_str(&format!("{{\"id\":{:?},\"learned\":{}}}\n", s.line.id, scale(&knots, s.raw)));
            }
            std::fs::write(path, &held).expect("the file can be written");
        }
        if std::env::args().nth(2).is_some() {
            let linear = learn(&build(&without(&lines, None), place, &recipe, 1), &settings, 7);
            tables.push(shrink(&linear, &settings, knots));
        }
    }
    if let (Some(out), [said, returned]) = (std::env::args().nth(2), tables.as_slice()) {
        std::fs::write(out, Model::new(said.clone(), returned.clone()).to_bytes()).expect("the file can be written");
    }
}

fn is_ordinary(line: &Line) -> bool {
    line.label == 0
        && !line.is_unknown()
        && !line.category.starts_with("harmful")
        && line.role.as_deref() != Some("system")
}

/// From raw scores to 0..100, by the share of ordinary texts of sources not trained on that score higher. Documents
/// about prompting are left out: they are the one kind that the data holds in a single source.
fn curve(scored: &[Scored<'_>], rate: f32) -> [(f32, u8); KNOTS] {
    let mut raw: Vec<f32> = scored
        .iter()
        .filter(|s| is_ordinary(s.line) && !s.line.source.starts_with("anthropics/anthropic-cookbook docs"))
        .map(|s| s.raw)
        .collect();
    raw.sort_by(|a, b| b.total_cmp(a));
    let at = |share: f32| raw[((raw.len() as f32 * share) as usize).min(raw.len() - 1)];
    let block = at(rate);
    let mut knots = [
        (at(rate * 20.0), 0),
        (at(rate * 10.0), 10),
        (at(rate * 4.0), 25),
        (at(rate * 2.0), 45),
        (block, 70),
        (at(rate / 5.0), 82),
        (at(rate / 5.0) + 0.7, 92),
        (at(rate / 5.0) + 2.0, 98),
    ];
    for next in 1..KNOTS {
        knots[next].0 = knots[next].0.max(knots[next - 1].0 + 0.01);
    }
    knots
}

/// Weights as bytes.
fn shrink(linear: &Linear, settings: &Settings, curve: [(f32, u8); KNOTS]) -> Table {
    let mut sizes: Vec<f32> = linear.weights.iter().map(|weight| weight.abs()).filter(|size| *size > 0.0).collect();
    sizes.sort_by(f32::total_cmp);
    let step = sizes[sizes.len() * 9995 / 10000] / 127.0;
    let weights = linear.weights.iter().map(|weight| (weight / step).round().clamp(-127.0, 127.0) as i8).collect();
    Table { bits: settings.bits as u8, step, bias: linear.bias, toll: linear.toll, curve, weights }
}

/// Recall and false positives of sources not trained on, at the score that blocks.
fn report(scored: &[Scored<'_>], knots: &[(f32, u8); KNOTS]) {
    let mut table: BTreeMap<(u8, String, String), (usize, usize)> = BTreeMap::new();
    for s in scored {
        let short = s.line.source.chars().take(30).collect();
        let row = table.entry((1 - s.line.label, s.line.kind(), short)).or_default();
        row.0 += 1;
        row.1 += usize::from(scale(knots, s.raw) >= 70);
    }
    for ((ordinary, kind, source), (texts, hits)) in &table {
        let label = if *ordinary == 1 { "ordinary" } else { "attack" };
        println!("| {label} | {kind} | {source} | {texts} | {:.1} |", *hits as f32 * 100.0 / *texts as f32);
    }
}
