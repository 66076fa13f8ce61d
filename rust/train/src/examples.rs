//! From the data and the grammar to what a model is trained on.

use std::collections::{HashMap, HashSet};

use kalguard_core::model::Place;
use kalguard_core::model::features::{Sink, extract};
use kalguard_core::text::align;
use kalguard_core::text::fold::fold;

use crate::data::{Line, shingles};
use crate::grammar::Grammar;
use crate::random::Random;

/// A text as the model sees it.
#[derive(Debug, Clone)]
pub struct Example {
    /// An attack.
    pub attack: bool,
    /// How much it counts.
    pub weight: f32,
    /// All features, unit after unit.
    pub features: Vec<u32>,
    /// Where each unit ends in `features`.
    pub ends: Vec<u32>,
    /// First and last unit of the planted instruction.
    pub planted: Option<(usize, usize)>,
}

#[derive(Default)]
struct Collect {
    features: Vec<u32>,
    ends: Vec<u32>,
    places: Vec<(usize, usize)>,
}

impl Sink for Collect {
    fn feature(&mut self, hash: u32) {
        self.features.push(hash);
    }

    fn unit(&mut self, start: usize, end: usize) {
        self.ends.push(self.features.len() as u32);
        self.places.push((start, end));
    }
}

impl Example {
    /// Read a text; `planted` are bytes of it.
    pub fn new(text: &str, attack: bool, weight: f32, planted: Option<(usize, usize)>) -> Self {
        let folded = fold(text);
        let mut collect = Collect::default();
        extract(folded.text(), &mut collect);
        let planted = planted.and_then(|(from, to)| {
            let touches = |&(start, end): &(usize, usize)| {
                let origin = folded.origin(start..end);
                origin.start < to && origin.end > from
            };
            Some((collect.places.iter().position(touches)?, collect.places.iter().rposition(touches)?))
        });
        Self { attack, weight, features: collect.features, ends: collect.ends, planted }
    }
}

/// How much of what is made.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Attacks by the grammar.
    pub attacks: usize,
    /// Ordinary texts by the grammar.
    pub ordinary: usize,
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

struct Made {
    text: String,
    attack: bool,
    source: String,
    planted: Option<(usize, usize)>,
    weight: f32,
}

/// What a model for `place` is trained on: `lines`, and what the grammar makes of them.
pub fn build(lines: &[&Line], place: Place, recipe: &Recipe, seed: u64) -> Vec<Example> {
    let mut random = Random::new(seed);
    let grammar = grammar(lines);
    let mut made = Vec::new();
    match place {
        Place::Said => said(lines, &grammar, recipe, &mut random, &mut made),
        Place::Returned => returned(lines, &grammar, recipe, &mut random, &mut made),
    }
    level(&mut made, recipe);
    random.shuffle(&mut made);
    made.iter().map(|item| Example::new(&item.text, item.attack, item.weight, item.planted)).collect()
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
    let plant = |payload: &str, random: &mut Random| -> (String, (usize, usize)) {
        if documents.is_empty() || random.chance(60) {
            carry(grammar, payload, random)
        } else {
            {
                let document: &str = documents[random.below(documents.len())];
                insert(document, payload, random)
            }
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

/// Put a text into a carrier of the grammar's.
fn carry(grammar: &Grammar, payload: &str, random: &mut Random) -> (String, (usize, usize)) {
    let carrier = grammar.draw(if random.chance(30) { "carrier" } else { "p_carrier" }, random);
    let at = carrier.find("SLOT").expect("a carrier has a slot");
    (carrier.replacen("SLOT", payload, 1), (at, at + payload.len()))
}

/// Put a text into a document: before, behind, or at the end of a sentence.
fn insert(document: &str, payload: &str, random: &mut Random) -> (String, (usize, usize)) {
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
fn cut<'a>(text: &'a str, most: usize, random: &mut Random) -> &'a str {
    if text.len() <= most {
        return text;
    }
    let most = most / (1 + random.below(4));
    let start = random.below(text.len() - most);
    &text[align(text, start..start + most)]
}

/// Write a text in one of the usual codes: a code is no attack.
fn encode(text: &str, random: &mut Random) -> String {
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
fn misread(text: &str, random: &mut Random) -> String {
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
fn noise(text: &str, random: &mut Random) -> String {
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

/// The lines that may be trained on when `left_out` is to be judged: other sources, and no attack that shares six
/// words in a row with one that is left out. Own obfuscations repeat other lines and are never trained on.
pub fn without(lines: &[Line], left_out: Option<usize>) -> Vec<&Line> {
    let known = |line: &&Line| !line.is_unknown() && line.source != "own obfuscation of development attacks";
    let Some(fold) = left_out else { return lines.iter().filter(known).collect() };
    let held: HashSet<u64> = lines
        .iter()
        .filter(|line| line.fold() == fold && line.label == 1)
        .flat_map(|line| shingles(line.planted()))
        .collect();
    lines
        .iter()
        .filter(known)
        .filter(|line| line.fold() != fold)
        .filter(|line| line.label == 0 || shingles(line.planted()).is_disjoint(&held))
        .collect()
}
