//! Records as tools return them: rows of named values in the usual notations, with nothing in them or with something
//! planted in one value. Without them keys and signs between sentences would look like attacks, since most of what
//! tools return in the data is prose, and most of what is planted stands in a carrier.

use std::collections::HashSet;

use crate::data::Line;
use crate::grammar::Grammar;
use crate::random::Random;

/// Stands in a table where the text to plant goes. No text of the data holds it.
const SLOT: &str = "\u{e000}";
/// About how many bytes a table may have: more rows teach nothing that fewer do not.
const MOST_BYTES: usize = 5_000;

/// What stands in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sentences,
    Number,
    /// A list of the grammar's: names, dates, places.
    List(&'static str),
    /// One of these words.
    Word(&'static str),
}

/// Names of columns that hold sentences. The regression tests use others.
const TOLD: &str = "note comment description text body details message content reason feedback review answer abstract \
    title subject snippet excerpt explanation instructions status_message error_message customer_note release_notes \
    internal_comment long_description question resolution agenda";
/// Names of the other columns, and what stands there.
const OTHERS: &[(&str, Kind)] = &[
    ("id order_id ticket_id ref sku uuid", Kind::List("p_id")),
    ("quantity total size amount_due position score rating page index duration_ms retry_count stock", Kind::Number),
    ("name author owner assignee customer sender created_by contact_person", Kind::List("p_name")),
    ("date created_at updated_at due_date timestamp last_seen", Kind::List("p_date")),
    ("city location destination region", Kind::List("p_place")),
    ("company vendor department", Kind::List("p_org")),
    ("product article item_name label", Kind::List("p_item")),
    ("price total_price balance", Kind::List("p_amount")),
    ("email reply_to", Kind::List("p_mail")),
    ("url link source_url", Kind::List("p_url")),
    (
        "status phase",
        Kind::Word("open closed pending done failed shipped active draft archived in_progress ok cancelled"),
    ),
    ("priority severity", Kind::Word("low medium high urgent critical normal")),
    ("type category kind", Kind::Word("task bug invoice meeting return question report public private internal other")),
    ("active is_public read archived", Kind::Word("true false null")),
];
/// Names of what holds the rows.
const HOLDERS: &str = "rows items data results records entries tickets orders messages list";

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notation {
    Json,
    JsonLines,
    Xml,
    Html,
    Yaml,
    Fields,
    Markdown,
    Log,
    Csv,
}

/// Notations, and how often each is used in twenty.
const NOTATIONS: [(Notation, usize); 9] = [
    (Notation::Json, 7),
    (Notation::JsonLines, 2),
    (Notation::Xml, 2),
    (Notation::Html, 2),
    (Notation::Yaml, 2),
    (Notation::Fields, 2),
    (Notation::Markdown, 1),
    (Notation::Log, 1),
    (Notation::Csv, 1),
];

#[derive(Debug)]
struct Table {
    keys: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Which columns are written without quotes.
    bare: Vec<bool>,
    /// A column that holds sentences.
    told: usize,
}

/// Makes records of ordinary sentences.
pub struct Records<'a> {
    sentences: Vec<&'a str>,
    /// The words of these sentences, each once.
    words: Vec<&'a str>,
}

impl<'a> Records<'a> {
    /// Take the sentences out of the ordinary texts of `lines` that tell something.
    pub fn new(lines: &[&'a Line]) -> Self {
        let mut told: Vec<&str> =
            lines.iter().filter(|line| tells(line)).flat_map(|line| sentences(&line.text)).collect();
        told.sort_unstable();
        told.dedup();
        let mut words: Vec<&str> =
            told.iter().flat_map(|told| told.split(|c: char| !c.is_ascii_alphabetic())).collect();
        words.retain(|word| (3..13).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase()));
        words.sort_unstable();
        words.dedup();
        Self { sentences: told, words }
    }

    /// Records with nothing in them.
    pub fn draw(&self, grammar: &Grammar, random: &mut Random) -> String {
        let rows = *random.pick(&[1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40]);
        let table = self.table(rows, grammar, random);
        write(&table, notation(random), random)
    }

    /// Records with a text in one value, alone or beside a sentence, and its bytes.
    pub fn plant(&self, payload: &str, grammar: &Grammar, random: &mut Random) -> (String, (usize, usize)) {
        let rows = *random.pick(&[1, 1, 2, 3, 4, 5, 6, 8, 12]);
        let mut table = self.table(rows, grammar, random);
        let row = random.below(table.rows.len());
        let cell = &mut table.rows[row][table.told];
        *cell = match random.below(4) {
            0 => format!("{cell} {SLOT}"),
            1 => format!("{SLOT} {cell}"),
            _ => SLOT.to_owned(),
        };
        let notation = notation(random);
        let (text, planted) = (write(&table, notation, random), escape(payload, notation));
        let at = text.find(SLOT).expect("the slot is in a cell");
        (text.replacen(SLOT, &planted, 1), (at, at + planted.len()))
    }

    fn table(&self, rows: usize, grammar: &Grammar, random: &mut Random) -> Table {
        let columns = self.columns(random);
        let (case, mut bytes, mut table) = (random.below(5), 0, Vec::new());
        while table.len() < rows && bytes < MOST_BYTES {
            let row: Vec<String> = columns.iter().map(|column| self.cell(column.1, grammar, random)).collect();
            bytes += row.iter().map(|cell| cell.len() + 12).sum::<usize>();
            table.push(row);
        }
        let bare = |kind: Kind| kind == Kind::Number || kind == Kind::Word("true false null");
        Table {
            keys: columns.iter().map(|column| cased(&column.0, case)).collect(),
            rows: table,
            bare: columns.iter().map(|column| bare(column.1)).collect(),
            told: columns.iter().position(|column| column.1 == Kind::Sentences).expect("a column of sentences"),
        }
    }

    /// Names of columns and what they hold. Sentences stand last as a rule, in one table of five there are two of them.
    fn columns(&self, random: &mut Random) -> Vec<(String, Kind)> {
        let mut columns: Vec<(String, Kind)> = Vec::new();
        for _ in 0..1 + random.below(5) / 4 {
            columns.push((self.name(TOLD, random), Kind::Sentences));
        }
        for _ in 0..random.below(6) {
            let (names, kind) = random.pick(OTHERS);
            columns.push((self.name(names, random), *kind));
        }
        let mut seen = HashSet::new();
        columns.retain(|column| seen.insert(column.0.clone()));
        columns.reverse();
        if random.chance(25) {
            random.shuffle(&mut columns);
        }
        columns
    }

    /// A usual name, or any word or two, so that names nobody thought of are no evidence either.
    fn name(&self, usual: &'static str, random: &mut Random) -> String {
        if self.words.is_empty() || random.chance(50) {
            return word(usual, random).to_owned();
        }
        let first = *random.pick(&self.words);
        if random.chance(70) { first.to_owned() } else { format!("{first}_{}", random.pick(&self.words)) }
    }

    fn cell(&self, kind: Kind, grammar: &Grammar, random: &mut Random) -> String {
        match kind {
            Kind::Number => match random.below(3) {
                0 => random.below(20).to_string(),
                1 => random.below(5_000).to_string(),
                _ => format!("{}.{}", random.below(300), random.below(100)),
            },
            Kind::List(list) => grammar.draw(list, random),
            Kind::Word(words) => word(words, random).to_owned(),
            Kind::Sentences => {
                let count = *random.pick(&[1, 1, 1, 1, 2, 3]);
                let told: Vec<String> = (0..count).map(|_| self.sentence(grammar, random)).collect();
                told.join(" ")
            }
        }
    }

    fn sentence(&self, grammar: &Grammar, random: &mut Random) -> String {
        if self.sentences.is_empty() || random.chance(25) {
            let list = *random.pick(&["p_s", "p_m", "p_human", "a_sentence"]);
            grammar.draw(list, random).replace('\n', " ")
        } else {
            (*random.pick(&self.sentences)).to_owned()
        }
    }
}

/// Whether a text is ordinary and tells: requests would be planted orders where they stand in a tool result, what is
/// about prompting holds such orders, and texts of interfaces are short of sentences.
fn tells(line: &Line) -> bool {
    let kind = line.kind();
    let told = matches!(
        kind.as_str(),
        "chat_assistant"
            | "agent_assistant"
            | "agent_text"
            | "pii_text"
            | "email"
            | "tool_result"
            | "returned"
            | "ordinary"
    );
    line.label == 0 && !line.source.starts_with("anthropics/") && told
}

/// The sentences of a text that are neither very short nor very long.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
        .flat_map(|line| line.split_inclusive(['.', '!', '?', '。', '！', '？']))
        .map(str::trim)
        .filter(|sentence| (20..220).contains(&sentence.len()) && !sentence.contains(['{', '}', '<', '>', '|', '"']))
        .filter(|sentence| sentence.chars().filter(|c| c.is_alphabetic()).count() * 4 > sentence.chars().count() * 2)
}

fn word(words: &'static str, random: &mut Random) -> &'static str {
    let words: Vec<&str> = words.split_whitespace().collect();
    words[random.below(words.len())]
}

/// A name in one of five manners: `due_date`, `dueDate`, `due-date`, `DueDate`, `due_date` again.
fn cased(name: &str, case: usize) -> String {
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    let parts: Vec<&str> = name.split('_').collect();
    match case {
        1 => parts[0].to_owned() + &parts[1..].iter().map(|part| capital(part)).collect::<String>(),
        2 => parts.join("-"),
        3 => parts.iter().map(|part| capital(part)).collect(),
        _ => name.to_owned(),
    }
}

fn notation(random: &mut Random) -> Notation {
    let mut left = random.below(NOTATIONS.iter().map(|share| share.1).sum());
    let found = NOTATIONS.iter().find(|share| {
        let here = left < share.1;
        left = left.wrapping_sub(share.1);
        here
    });
    found.map_or(Notation::Json, |share| share.0)
}

/// A value as it is written inside of a notation's quotes or marks.
fn escape(text: &str, notation: Notation) -> String {
    match notation {
        Notation::Json | Notation::JsonLines => {
            let quoted = serde_json::to_string(text).expect("text is JSON");
            quoted[1..quoted.len() - 1].to_owned()
        }
        Notation::Xml | Notation::Html => text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
        Notation::Markdown => text.replace('\n', " ").replace('|', "/"),
        Notation::Csv => text.replace('"', "\"\""),
        Notation::Yaml | Notation::Fields | Notation::Log => text.replace('\n', " "),
    }
}

fn write(table: &Table, notation: Notation, random: &mut Random) -> String {
    match notation {
        Notation::Json => json(table, random),
        Notation::JsonLines => {
            let compact = random.chance(50);
            lines(table, |row| object(table, row, None, compact))
        }
        Notation::Xml => xml(table, random),
        Notation::Html => {
            let row = |tag: &str, cells: &[String]| {
                let cells: String = cells.iter().map(|cell| format!("<{tag}>{cell}</{tag}>")).collect();
                format!("<tr>{cells}</tr>")
            };
            let head = if random.chance(60) { row("th", &table.keys) + "\n" } else { String::new() };
            format!("<table>{head}{}</table>", lines(table, |cell| row("td", &cells(cell, notation))))
        }
        Notation::Yaml => {
            let head = if random.chance(40) { format!("{}:\n", word(HOLDERS, random)) } else { String::new() };
            head + &lines(table, |row| format!("- {}", pairs(table, row, notation, ": ").join("\n  ")))
        }
        Notation::Fields => {
            let gap = *random.pick(&[": ", ": ", "=", " = "]);
            lines(table, |row| pairs(table, row, notation, gap).join("\n") + "\n")
        }
        Notation::Markdown => {
            let rule = "|---".repeat(table.keys.len());
            let body = lines(table, |row| format!("| {} |", cells(row, notation).join(" | ")));
            format!("| {} |\n{rule}|\n{body}", table.keys.join(" | "))
        }
        Notation::Log => {
            let level = *random.pick(&["INFO ", "WARN ", "", "[info] "]);
            let (hour, minute) = (random.below(24), random.below(60));
            let stamp = format!("2025-0{}-1{} {hour:02}:{minute:02}:", 1 + random.below(9), random.below(10));
            let mut second = 0;
            lines(table, |row| {
                second = (second + 7) % 60;
                format!("{stamp}{second:02} {level}{}", pairs(table, row, notation, "=").join(" "))
            })
        }
        Notation::Csv => {
            let gap = *random.pick(&[",", ",", ";"]);
            let quoted = |row: &[String]| {
                let cells: Vec<String> = cells(row, notation).iter().map(|cell| format!("\"{cell}\"")).collect();
                cells.join(gap)
            };
            format!("{}\n{}", table.keys.join(gap), lines(table, quoted))
        }
    }
}

fn lines(table: &Table, mut write: impl FnMut(&[String]) -> String) -> String {
    table.rows.iter().map(|row| write(row)).collect::<Vec<_>>().join("\n")
}

fn cells(row: &[String], notation: Notation) -> Vec<String> {
    row.iter().map(|cell| escape(cell, notation)).collect()
}

fn pairs(table: &Table, row: &[String], notation: Notation, gap: &str) -> Vec<String> {
    table.keys.iter().zip(cells(row, notation)).map(|(key, cell)| format!("{key}{gap}{cell}")).collect()
}

/// A list of objects, alone or within another object; on one line or indented.
fn json(table: &Table, random: &mut Random) -> String {
    let pad = *random.pick(&[None, None, None, Some("  "), Some("    ")]);
    let compact = random.chance(40);
    let objects: Vec<String> = table.rows.iter().map(|row| object(table, row, pad, compact)).collect();
    let gap = if pad.is_some() {
        ",\n"
    } else if compact {
        ","
    } else {
        ", "
    };
    let rows = if pad.is_some() { format!("[\n{}\n]", objects.join(gap)) } else { format!("[{}]", objects.join(gap)) };
    let holder = word(HOLDERS, random);
    match random.below(5) {
        0 | 1 => rows,
        2 => format!("{{\"{holder}\": {rows}, \"next\": null}}"),
        3 => format!("{{\"status\": \"ok\", \"total\": {}, \"{holder}\": {rows}}}", table.rows.len()),
        _ => format!("{{\"response\": {{\"{holder}\": {rows}}}, \"page\": 1}}"),
    }
}

/// One object; of five columns and more, the last two stand in an object of their own where there is no padding.
fn object(table: &Table, row: &[String], pad: Option<&str>, compact: bool) -> String {
    let colon = if compact && pad.is_none() { ":" } else { ": " };
    let fields: Vec<String> = (0..row.len())
        .map(|at| {
            let cell = escape(&row[at], Notation::Json);
            let value = if table.bare[at] { cell } else { format!("\"{cell}\"") };
            format!("\"{}\"{colon}{value}", table.keys[at])
        })
        .collect();
    if let Some(pad) = pad {
        let inner = fields.iter().map(|field| format!("{pad}{pad}{field}")).collect::<Vec<_>>().join(",\n");
        return format!("{pad}{{\n{inner}\n{pad}}}");
    }
    let gap = if compact { "," } else { ", " };
    if fields.len() < 5 {
        return format!("{{{}}}", fields.join(gap));
    }
    let (outer, inner) = fields.split_at(fields.len() - 2);
    format!("{{{}{gap}\"attributes\"{colon}{{{}}}}}", outer.join(gap), inner.join(gap))
}

fn xml(table: &Table, random: &mut Random) -> String {
    let (holder, row_name) = (word(HOLDERS, random), *random.pick(&["row", "item", "record", "entry"]));
    let gap = *random.pick(&["", "\n    "]);
    let body = lines(table, |row| {
        let elements: Vec<String> = table
            .keys
            .iter()
            .zip(cells(row, Notation::Xml))
            .map(|(key, cell)| format!("{gap}<{key}>{cell}</{key}>"))
            .collect();
        format!("  <{row_name}>{}</{row_name}>", elements.concat())
    });
    format!("<{holder}>\n{body}\n</{holder}>")
}
