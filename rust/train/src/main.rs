//! Trains the learned scorer: `kalguard-train DATA [OUT]`.
//!
//! First each group of sources is left out in turn, and judged by models that never saw it: this gives the curves from
//! raw scores to 0..100 and the printed tables. Then everything is trained on and written to `OUT`, and the validation
//! texts, which are never trained on, are scanned with it. Seeds are fixed, orders are fixed, nothing is parallel but
//! whole models: the same data gives the same file on the same platform (`exp` is the platform's).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    unreachable_pub
)]

mod corpus;
mod data;
mod examples;
mod grammar;
mod learn;
mod random;
mod records;
mod report;
mod variants;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kalguard_core::model::{KNOTS, Model, Place, Table};
use kalguard_core::scanner::{Role, Scanner, ScannerConfig, Segment};
use kalguard_core::text::fold::fold;

use corpus::Recipe;
use data::{FOLDS, Line};
use examples::{build, without};
use learn::{Linear, Settings, learn};
use report::Judged;

const PLACES: [Place; 2] = [Place::Said, Place::Returned];
/// For each place, the share of ordinary texts of sources not trained on that the model alone may block.
const RATES: [f32; 2] = [0.0043, 0.008];
/// How often each of the own texts is there: they are few, and each is another variant.
const TEXT_ROUNDS: usize = 8;
/// Models trained at a time.
const THREADS: usize = 2;

fn main() {
    let folder = std::env::args().nth(1).expect("usage: kalguard-train DATA [OUT]");
    let out = std::env::args().nth(2);
    let lines = data::read(Path::new(&folder));
    let (texts, validation) = (data::read_texts(), data::read_validation());
    // Every group of sources, and nothing.
    let left_out: Vec<Option<usize>> = (0..FOLDS).map(Some).chain([None]).collect();
    let jobs: Vec<(Option<usize>, Place)> =
        left_out.iter().flat_map(|&fold| PLACES.map(|place| (fold, place))).collect();
    let tables = in_parallel(&jobs, |&(fold, place)| train(&lines, &texts, fold, place));
    let mut models: Vec<(Option<usize>, [Table; 2])> =
        left_out.iter().copied().zip(tables.chunks(2).map(|two| [two[0].clone(), two[1].clone()])).collect();
    for (at, place) in PLACES.into_iter().enumerate() {
        let raw: Vec<f32> = models
            .iter()
            .filter_map(|(fold, tables)| fold.map(|fold| (fold, Model::new(tables[0].clone(), tables[1].clone()))))
            .flat_map(|(fold, model)| {
                let judged = lines.iter().filter(move |line| line.fold() == fold && is_typical(line));
                judged
                    .filter(|line| line.place() == place)
                    .filter_map(|line| model.raw(fold_text(line).as_str(), place))
                    .collect::<Vec<_>>()
            })
            .collect();
        let knots = curve(raw, RATES[at]);
        models.iter_mut().for_each(|(_, tables)| tables[at].curve = knots);
    }
    let patterns = scanner(silent());
    let (mut judged, mut own, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for (fold, [said, returned]) in models {
        let model = Model::new(said, returned);
        if let (None, Some(out)) = (fold, &out) {
            std::fs::write(out, model.to_bytes()).expect("the file can be written");
        }
        let scanner = scanner(model.clone());
        let judge = |line: &Line| Judged {
            patterns: scan(&patterns, line),
            learned: model.score(fold_text(line).as_str(), line.place()).map_or(0, |verdict| verdict.score),
            combined: scan(&scanner, line),
        };
        if fold.is_none() {
            valid.extend(validation.iter().map(|line| (line, judge(line))));
        } else {
            judged.extend(lines.iter().filter(|line| Some(line.fold()) == fold).map(|line| (line, judge(line))));
            let left_out = texts.iter().enumerate().filter(|(at, _)| Some(at % FOLDS) == fold);
            own.extend(left_out.map(|(_, line)| (line, judge(line))));
        }
    }
    report::print("Sources left out", &judged);
    report::print("Own texts left out", &own);
    report::print("Validation", &valid);
}

/// What `work` makes of each job, in their order.
fn in_parallel<J: Sync, T: Send>(jobs: &[J], work: impl Fn(&J) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<T>>> = Mutex::new(jobs.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((at, job)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, jobs.get(at)?)))
                {
                    let result = work(job);
                    done.lock().unwrap()[at] = Some(result);
                }
            });
        }
    });
    done.into_inner().unwrap().into_iter().map(Option::unwrap).collect()
}

/// Train for a place on all lines but those left out, and on own texts: of them a seventh is left out each time.
fn train(lines: &[Line], texts: &[Line], left_out: Option<usize>, place: Place) -> Table {
    let recipe = Recipe { attacks: 30_000, ordinary: 35_000, records: 8_000, levelling: 0.2, balance: 1.0 };
    let settings = Settings { bits: 19, epochs: 4, rate: 0.1, decay: 0.003, toll: 0.1 };
    let mut known = without(lines, left_out);
    // What tools return is taught by texts that tools return: others there cost more than they found.
    let fitting = texts
        .iter()
        .enumerate()
        .filter(|(at, line)| left_out != Some(at % FOLDS) && (place == Place::Said || line.place() == Place::Returned));
    known.extend((0..TEXT_ROUNDS).flat_map(|_| fitting.clone().map(|(_, line)| line)));
    shrink(&learn(&build(&known, place, &recipe, 1), &settings, 7), &settings)
}

fn scanner(model: Model) -> Scanner {
    Scanner::with_model(&ScannerConfig::default(), model).expect("the catalogue compiles")
}

fn fold_text(line: &Line) -> String {
    fold(&line.text).text().to_owned()
}

fn scan(scanner: &Scanner, line: &Line) -> u8 {
    let role = Role::parse(line.role.as_deref().unwrap_or("user"));
    scanner.scan(&[Segment { message: 0, role, text: &line.text }]).assessment.score
}

/// Ordinary texts by which the curve is set. Documents about prompting are left out: they are the one kind that the
/// data holds in a single source.
fn is_typical(line: &Line) -> bool {
    line.label == 0
        && !line.is_unknown()
        && !line.category.starts_with("harmful")
        && line.role.as_deref() != Some("system")
        && !line.source.starts_with("anthropics/anthropic-cookbook docs")
}

/// From raw scores to 0..100, by the share of ordinary texts of sources not trained on that score higher. The curve is
/// steep below the score that blocks: what ordinary e-mails also hold, such as personal data, adds to the risk.
fn curve(mut raw: Vec<f32>, rate: f32) -> [(f32, u8); KNOTS] {
    raw.sort_by(|a, b| b.total_cmp(a));
    let at = |share: f32| raw[((raw.len() as f32 * share) as usize).min(raw.len() - 1)];
    let mut knots = [
        (at(rate * 20.0), 0),
        (at(rate * 8.0), 10),
        (at(rate * 3.0), 25),
        (at(rate * 1.3), 45),
        (at(rate), 70),
        (at(rate / 5.0), 82),
        (at(rate / 5.0) + 0.7, 92),
        (at(rate / 5.0) + 2.0, 98),
    ];
    for next in 1..KNOTS {
        knots[next].0 = knots[next].0.max(knots[next - 1].0 + 0.01);
    }
    knots
}

/// No curve yet.
const FLAT: [(f32, u8); KNOTS] = [(0.0, 0), (1.0, 0), (2.0, 0), (3.0, 0), (4.0, 0), (5.0, 0), (6.0, 0), (7.0, 0)];

/// A model that says nothing, so that the patterns are measured alone.
fn silent() -> Model {
    let table = Table { bits: 8, step: 1.0, bias: 0.0, toll: 0.0, curve: FLAT, weights: vec![0; 256] };
    Model::new(table.clone(), table)
}

/// Weights as bytes.
fn shrink(linear: &Linear, settings: &Settings) -> Table {
    let mut sizes: Vec<f32> = linear.weights.iter().map(|weight| weight.abs()).filter(|size| *size > 0.0).collect();
    sizes.sort_by(f32::total_cmp);
    let step = sizes[sizes.len() * 9995 / 10000] / 127.0;
    let weights = linear.weights.iter().map(|weight| (weight / step).round().clamp(-127.0, 127.0) as i8).collect();
    Table { bits: settings.bits as u8, step, bias: linear.bias, toll: linear.toll, curve: FLAT, weights }
}
