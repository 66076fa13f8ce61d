//! Walks a schema through every place that holds one, and follows its references.
//!
//! Four things end here that the validator would let pass or come to grief on: keywords the dialect does not know (it
//! ignores them), references that lead outside of the document or to something that is no schema, schemas that apply
//! themselves to the same value again (it takes them for `true`), and schemas whose evaluation recurses too deep or
//! multiplies (schemas come from operators, but also from whoever may register a tool).

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::keywords::{self, Dialect, Holds, Keyword, To};
use crate::fields::quote;

/// How many schemas may be applied to one value inside each other. With the bound on arguments, it bounds the stack.
const MAX_CHAIN: usize = 32;

/// How many schemas one evaluation may come to, each reference counted as often as it is followed.
const MAX_COST: usize = 20_000;

/// How many regular expressions a schema may have, each of which is compiled.
const MAX_PATTERNS: usize = 64;

/// What the walk found out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// A reference leads back to a schema that it is inside of.
    pub(super) recursive: bool,
}

/// Check a schema. Its `$schema` and `$id` are not part of it any more.
pub(super) fn inspect(dialect: Dialect, schema: &Value) -> Result<Shape, String> {
    let mut walk = Walk { dialect, nodes: Vec::new(), places: HashMap::new(), references: Vec::new(), patterns: 0 };
    walk.schema(String::new(), schema)?;
    if walk.patterns > MAX_PATTERNS {
        return Err(format!("has more than {MAX_PATTERNS} regular expressions"));
    }
    walk.resolve()?;
    let (order, cyclic) = walk.order(|to| to == To::Same);
    if let Some(place) = cyclic {
        return Err(format!("refers to itself at `{}` without looking into the value", quote(&place)));
    }
    let longest = |costs: &[usize]| costs.iter().max().map_or(1, |deepest| deepest + 1);
    if walk.fold(&order, |to| to == To::Same, longest).into_iter().max() > Some(MAX_CHAIN) {
        return Err(format!("applies more than {MAX_CHAIN} schemas inside each other to one value"));
    }
    let (order, cyclic) = walk.order(|_| true);
    let sum = |costs: &[usize]| costs.iter().fold(1, |sum: usize, cost| sum.saturating_add(*cost));
    if walk.fold(&order, |_| true, sum).first() > Some(&MAX_COST) {
        return Err(format!("comes to more than {MAX_COST} schemas once its references are followed"));
    }
    Ok(Shape { recursive: cyclic.is_some() })
}

struct Walk<'a> {
    dialect: Dialect,
    /// The schemas, the first of which is the root.
    nodes: Vec<Node>,
    /// Schemas by where they can be referred to: `/properties/a`, or an anchor's name.
    places: HashMap<String, usize>,
    references: Vec<(usize, &'a str)>,
    patterns: usize,
}

struct Node {
    place: String,
    leads_to: Vec<(usize, To)>,
}

impl<'a> Walk<'a> {
    fn schema(&mut self, place: String, schema: &'a Value) -> Result<usize, String> {
        let index = self.nodes.len();
        self.nodes.push(Node { place: place.clone(), leads_to: Vec::new() });
        self.places.insert(place.clone(), index);
        match schema {
            Value::Bool(_) => Ok(index),
            Value::Object(schema) => {
                schema.iter().try_for_each(|(name, value)| self.keyword(index, &place, schema, name, value))?;
                Ok(index)
            }
            _ => Err(format!("at `{}`: a schema must be an object or a boolean", quote(&place))),
        }
    }

    fn keyword(
        &mut self,
        index: usize,
        place: &str,
        schema: &Map<String, Value>,
        name: &'a str,
        value: &'a Value,
    ) -> Result<(), String> {
        let wrong = |what: String| Err(format!("at `{}`: {what}", quote(place)));
        let Some(keyword) = keywords::find(self.dialect, name) else {
            return wrong(unknown(self.dialect, name));
        };
        if schema.contains_key("$ref") && keywords::lost_beside_reference(self.dialect, keyword) {
            return wrong(format!("draft 7 passes over `{name}` beside `$ref`: put both under `allOf`"));
        }
        if let Some(what) = self.leaf(index, name, value) {
            return wrong(what);
        }
        self.inner(index, &format!("{place}/{}", escape(name)), keyword, value)
    }

    /// What there is to say about a keyword without schemas.
    fn leaf(&mut self, index: usize, name: &str, value: &'a Value) -> Option<String> {
        match (name, value, self.dialect) {
            ("pattern", ..) => self.patterns += 1,
            ("patternProperties", Value::Object(map), _) => self.patterns += map.len(),
            ("$anchor" | "$dynamicAnchor", Value::String(anchor), _) => {
                let taken = self.places.insert(anchor.clone(), index).is_some();
                return taken.then(|| format!("the anchor `{}` is given twice", quote(anchor)));
            }
            ("contentEncoding", other, Dialect::Draft7) if other != "base64" => {
                return Some("only `base64` can be checked as `contentEncoding`".to_owned());
            }
            ("contentMediaType", other, Dialect::Draft7) if other != "application/json" => {
                return Some("only `application/json` can be checked as `contentMediaType`".to_owned());
            }
            _ => {}
        }
        None
    }

    /// Go on into the schemas that a keyword holds. What has not the form it should have is left to the metaschema.
    fn inner(&mut self, from: usize, place: &str, keyword: &Keyword, value: &'a Value) -> Result<(), String> {
        match (keyword.holds, value) {
            (Holds::Reference, Value::String(target)) => self.references.push((from, target)),
            (Holds::Schema, schema) => self.edge(from, place.to_owned(), keyword.to, schema)?,
            (Holds::List | Holds::SchemaOrList, Value::Array(list)) => {
                for (index, schema) in list.iter().enumerate() {
                    self.edge(from, format!("{place}/{index}"), keyword.to, schema)?;
                }
            }
            (Holds::SchemaOrList, schema) => self.edge(from, place.to_owned(), keyword.to, schema)?,
            (Holds::Map | Holds::MapOrNames, Value::Object(map)) => {
                let names_only = |value: &Value| keyword.holds == Holds::MapOrNames && value.is_array();
                for (name, schema) in map.iter().filter(|(_, value)| !names_only(value)) {
                    self.edge(from, format!("{place}/{}", escape(name)), keyword.to, schema)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn edge(&mut self, from: usize, place: String, to: To, schema: &'a Value) -> Result<(), String> {
        let target = self.schema(place, schema)?;
        if to != To::Kept {
            self.connect(from, target, to);
        }
        Ok(())
    }

    fn connect(&mut self, from: usize, target: usize, to: To) {
        if let Some(node) = self.nodes.get_mut(from) {
            node.leads_to.push((target, to));
        }
    }

    fn resolve(&mut self) -> Result<(), String> {
        for (from, reference) in std::mem::take(&mut self.references) {
            let Some(fragment) = reference.strip_prefix('#') else {
                return Err(format!("refers to `{}`, outside of the document", quote(reference)));
            };
            let Some(target) = percent_decoded(fragment).and_then(|place| self.places.get(&place).copied()) else {
                return Err(format!("refers to `{}`, which is no schema of the document", quote(reference)));
            };
            self.connect(from, target, To::Same);
        }
        Ok(())
    }

    /// The schemas, each after those it leads to, and a place from which one leads back, if there is any.
    fn order(&self, follow: impl Fn(To) -> bool) -> (Vec<usize>, Option<String>) {
        let (mut order, mut cyclic) = (Vec::with_capacity(self.nodes.len()), None);
        let mut begun = vec![false; self.nodes.len()];
        let mut done = begun.clone();
        for start in 0..self.nodes.len() {
            let mut path = vec![(start, 0)];
            while let Some((index, next)) = path.pop() {
                let Some(node) = self.nodes.get(index) else { continue };
                if next == 0 && std::mem::replace(begun.get_mut(index).unwrap_or(&mut false), true) {
                    // On the path and not done: this is where a circle closes.
                    if done.get(index) == Some(&false) {
                        cyclic = Some(node.place.clone());
                    }
                    continue;
                }
                match node.leads_to.get(next) {
                    Some((target, to)) => {
                        path.push((index, next + 1));
                        path.extend(follow(*to).then_some((*target, 0)));
                    }
                    None => {
                        done.get_mut(index).map(|done| std::mem::replace(done, true));
                        order.push(index);
                    }
                }
            }
        }
        (order, cyclic)
    }

    /// Give each schema a number from those of the schemas it leads to. One that leads back counts 1.
    fn fold(&self, order: &[usize], follow: impl Fn(To) -> bool, of: impl Fn(&[usize]) -> usize) -> Vec<usize> {
        let mut numbers = vec![1; self.nodes.len()];
        for index in order {
            let Some(node) = self.nodes.get(*index) else { continue };
            let followed = node.leads_to.iter().filter(|(_, to)| follow(*to));
            let inner: Vec<usize> = followed.filter_map(|(target, _)| numbers.get(*target).copied()).collect();
            if let Some(number) = numbers.get_mut(*index) {
                *number = of(&inner);
            }
        }
        numbers
    }
}

fn unknown(dialect: Dialect, name: &str) -> String {
    match (name, dialect) {
        ("$id" | "$schema", _) => format!("`{name}` is supported at the top only"),
        (_, Dialect::Draft7) => format!("unknown keyword `{}` in draft 7", quote(name)),
        (_, Dialect::Draft202012) => format!("unknown keyword `{}` in draft 2020-12", quote(name)),
    }
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn percent_decoded(fragment: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(fragment.len());
    let mut bytes = fragment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            decoded.push(digit()? * 16 + digit()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}
