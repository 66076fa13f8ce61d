//! The texts that models are trained on: those of the data, and what the grammar makes.

use std::collections::HashMap;

use kalguard_core::model::Place;

use crate::data::Line;
use crate::grammar::Grammar;
use crate::random::Random;
use crate::records::Records;
use crate::variants::{carry, cut, encode, insert, misread, noise};

/// How much of what is made.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Attacks by the grammar.
    pub attacks: usize,
    /// Ordinary texts by the grammar.
    pub ordinary: usize,
    /// Harmless records that tools return.
    pub records: usize,
    /// Exponent of a source's size in its weight: 0 counts every line, 1 every source the same.
    pub levelling: f32,
    /// Weight of all attacks together, to that of ordinary texts.
    pub balance: f32,
}

/// Lists of the grammar, how often each is drawn from, and how much what comes of it counts.
type Shares = &'static [(&'static str, usize, f32)];

const SAID_ATTACKS: Shares = &[
    ("attack_said", 40, 1.0),
    ("u_hijack", 20, 1.0),
    ("u_extract", 14, 1.0),
    ("u_jailbreak_long", 8, 1.0),
    ("u_jailbreak_short", 8, 1.0),
    ("u_multi", 10, 1.0),
];
const SAID_ORDINARY: Shares = &[
    ("plainhard", 35, 1.0),
    ("o_trigger", 15, 2.0),
    ("o_security", 10, 1.0),
    ("o_adversarial_harmless", 10, 2.0),
    ("o_meta", 7, 2.0),
    ("o_agent", 6, 1.0),
    ("o_answer", 5, 2.0),
    ("o_languages", 12, 1.0),
    ("a_document", 4, 1.0),
];
const RETURNED_ATTACKS: Shares = &[
    ("explicit", 25, 1.0),
    ("p_explicit", 30, 1.0),
    ("p_explicit_multi", 6, 1.0),
    ("attack_said", 6, 1.0),
    ("u_hijack", 4, 1.0),
    ("codeplant", 5, 1.0),
    ("p_code", 10, 1.0),
    ("toolact", 5, 0.5),
    ("plain", 4, 0.3),
    ("p_plain_request", 5, 0.5),
];
/// Those of whole documents come as they are, the others in carriers.
const RETURNED_ORDINARY: Shares = &[
    ("p_ordinary", 22, 1.0),
    ("a_document", 22, 1.0),
    ("returnedhard", 20, 1.0),
    ("a_ui", 4, 1.0),
    ("a_sentence", 4, 1.0),
    ("p_harmless", 20, 1.0),
    ("o_security", 4, 1.0),
    ("o_answer", 4, 1.0),
];

/// Per cent of what is planted in tool results that stands in records.
const IN_RECORDS: usize = 12;

/// One of some lists, by their shares, and its weight.
fn share(shares: Shares, random: &mut Random) -> (&'static str, f32) {
    let mut left = random.below(shares.iter().map(|share| share.1).sum());
    let found = shares.iter().find(|share| {
        let here = left < share.1;
        left = left.wrapping_sub(share.1);
        here
    });
    found.map(|share| (share.0, share.2)).expect("shares that are not empty")
}

/// A text to train on.
pub struct Made {
    /// The text.
    pub text: String,
    /// An attack.
    pub attack: bool,
    source: String,
    /// Bytes of the planted instruction.
    pub planted: Option<(usize, usize)>,
    /// How much it counts.
    pub weight: f32,
}

/// What there is for `place`: `lines`, and what the grammar makes of them.
pub fn make(lines: &[&Line], place: Place, recipe: &Recipe, random: &mut Random) -> Vec<Made> {
    let grammar = grammar(lines);
    let mut made = Vec::new();
    match place {
        Place::Said => said(lines, &grammar, recipe, random, &mut made),
        Place::Returned => returned(lines, &grammar, recipe, random, &mut made),
    }
    level(&mut made, recipe);
    made
}

/// The grammar, with requests of the data as fillers.
fn grammar(lines: &[&Line]) -> Grammar {
    let mut grammar = Grammar::default();
    grammar.add(include_str!("../templates/attacks.txt"));
    grammar.add(include_str!("../templates/user_attacks.txt"));
    grammar.add(include_str!("../templates/planted.txt"));
    grammar.add(include_str!("../templates/ordinary.txt"));
    grammar.add(include_str!("../templates/hard_ordinary.txt"));
    grammar.add(include_str!("../templates/documents.txt"));
    let short = |line: &&&Line, most: usize| (12..most).contains(&line.text.len()) && !line.text.contains('\n');
    let request = |line: &&&Line| {
        line.label == 0
            && matches!(
                line.kind().as_str(),
                "instruction"
                    | "user_prompt"
                    | "chat_prompter"
                    | "agent_request"
                    | "roleplay"
                    | "code"
                    | "instruction_zh"
                    | "chat_fr"
                    | "maths"
            )
    };
    let texts = |keep: &dyn Fn(&&&Line) -> bool| -> Vec<String> {
        let mut texts: Vec<String> = lines.iter().filter(keep).map(|line| line.text.clone()).collect();
        if texts.is_empty() {
            texts.push("What time is it?".to_owned());
        }
        texts
    };
    grammar.set("plain", &texts(&|line| request(line) && short(line, 220)));
    grammar.set("plain_short", &texts(&|line| request(line) && short(line, 60)));
    grammar
        .set("harm", &texts(&|line| line.kind() == "harmful" && !line.category.contains("benign") && short(line, 160)));
    grammar
}

fn said(lines: &[&Line], grammar: &Grammar, recipe: &Recipe, random: &mut Random, made: &mut Vec<Made>) {
    for line in lines {
        let place = line.place();
        let attack = line.label == 1;
        let kind = line.kind();
        if attack && (place == Place::Returned || kind.starts_with("bipia")) {
            continue;
        }
        let weight = if kind == "harmful" { 0.5 } else { 1.0 };
        made.push(Made { text: line.text.clone(), attack, source: line.source.clone(), planted: None, weight });
        if attack {
            let text = match random.below(4) {
                0 => format!("{} {}", grammar.draw("plain", random), line.text),
                1 => format!("{} {}", line.text, grammar.draw("plain", random)),
                2 => noise(&line.text, random),
                _ => format!("{} {}", grammar.draw("pre", random), line.text),
            };
            made.push(Made { text, attack, source: line.source.clone(), planted: None, weight: 0.5 });
        }
    }
    for _ in 0..recipe.attacks {
        let mut text = grammar.draw(share(SAID_ATTACKS, random).0, random);
        if random.chance(15) {
            text = noise(&text, random);
        }
        made.push(Made { text, attack: true, source: "grammar".to_owned(), planted: None, weight: 1.0 });
    }
    for _ in 0..recipe.ordinary / 10 {
        let line = random.pick(lines);
        if line.label == 0 {
            let text = misread(cut(&line.text, 1500, random), random);
            made.push(Made { text, attack: false, source: "misread".to_owned(), planted: None, weight: 1.0 });
        }
    }
    for _ in 0..recipe.ordinary {
        let (list, weight) = share(SAID_ORDINARY, random);
        let mut text = grammar.draw(list, random);
        match random.below(14) {
            0 => text = noise(&text, random),
            1 => text = format!("{text} {}", grammar.draw("plain", random)),
            2 => text = format!("{} {text}", grammar.draw("plain", random)),
            3 => text = format!("{text} {}", grammar.draw("plainhard", random)),
            4 => text = carry(grammar, &text, random).0,
            5 => text = encode(&grammar.draw("plain", random), random),
            _ => {}
        }
        made.push(Made { text, attack: false, source: "grammar".to_owned(), planted: None, weight });
    }
}

fn returned(lines: &[&Line], grammar: &Grammar, recipe: &Recipe, random: &mut Random, made: &mut Vec<Made>) {
    let documents: Vec<&str> = lines
        .iter()
        .filter(|line| line.label == 0 && (line.place() == Place::Returned || is_long(line)))
        .map(|line| line.text.as_str())
        .collect();
    let records = Records::new(lines);
    let plant = |payload: &str, random: &mut Random| -> (String, (usize, usize)) {
        if random.chance(IN_RECORDS) {
            records.plant(payload, grammar, random)
        } else if documents.is_empty() || random.chance(60) {
            carry(grammar, payload, random)
        } else {
            let document: &str = documents[random.below(documents.len())];
            insert(document, payload, random)
        }
    };
    for line in lines {
        let (attack, kind) = (line.label == 1, line.kind());
        let ordinary = is_long(line)
            || matches!(
                kind.as_str(),
                "chat_assistant" | "agent_assistant" | "pii_text" | "agent_text" | "encoded" | "code" | "maths"
            );
        let weight = match kind.as_str() {
            "injection_indirect_bipia" => 0.5,
            "planted_plain_request" => 0.3,
            _ => 1.0,
        };
        if line.place() == Place::Returned || !attack && ordinary {
            let planted = line.payload_bytes();
            made.push(Made { text: line.text.clone(), attack, source: line.source.clone(), planted, weight });
        }
        if attack && line.planted().len() < 600 {
            let payload = if random.chance(10) { noise(line.planted(), random) } else { line.planted().to_owned() };
            let (text, planted) = plant(&payload, random);
            made.push(Made {
                text,
                attack,
                source: format!("{} planted", line.source),
                planted: Some(planted),
                weight: weight * 0.5,
            });
        }
    }
    for _ in 0..recipe.attacks {
        let (list, weight) = share(RETURNED_ATTACKS, random);
        let mut payload = grammar.draw(list, random);
        if random.chance(8) {
            payload = noise(&payload, random);
        }
        let (text, planted) = plant(&payload, random);
        made.push(Made { text, attack: true, source: "grammar".to_owned(), planted: Some(planted), weight });
    }
    if !documents.is_empty() {
        for _ in 0..recipe.ordinary / 10 {
            let document: &str = documents[random.below(documents.len())];
            let text = misread(cut(document, 1500, random), random);
            made.push(Made { text, attack: false, source: "misread".to_owned(), planted: None, weight: 1.0 });
        }
    }
    for _ in 0..recipe.records {
        let text = records.draw(grammar, random);
        made.push(Made { text, attack: false, source: "records".to_owned(), planted: None, weight: 1.0 });
    }
    for _ in 0..recipe.ordinary {
        let list = share(RETURNED_ORDINARY, random).0;
        let text = grammar.draw(list, random);
        let text = if matches!(list, "p_ordinary" | "a_document") { text } else { plant(&text, random).0 };
        made.push(Made { text, attack: false, source: "grammar".to_owned(), planted: None, weight: 1.0 });
    }
}

/// Whether an ordinary text of a person's is long enough to pass for a document.
fn is_long(line: &Line) -> bool {
    line.label == 0 && line.text.len() > 400 && line.role.as_deref() != Some("system")
}

/// Give every source its share: large ones count less per line, and attacks as much as the recipe says.
fn level(made: &mut [Made], recipe: &Recipe) {
    let mut sizes: HashMap<(String, bool), usize> = HashMap::new();
    for item in made.iter() {
        *sizes.entry((item.source.clone(), item.attack)).or_default() += 1;
    }
    for item in made.iter_mut() {
        let size = sizes[&(item.source.clone(), item.attack)] as f32;
        item.weight *= (1000.0 / size).powf(recipe.levelling).min(4.0);
    }
    let total = |attack: bool| made.iter().filter(|item| item.attack == attack).map(|item| item.weight).sum::<f32>();
    let factor = recipe.balance * total(false) / total(true).max(1.0);
    for item in made.iter_mut().filter(|item| item.attack) {
        item.weight *= factor;
    }
}
