//! The keywords of the two dialects, and where each holds schemas.
//!
//! The validator passes over keywords it does not know. Here they are an error: a typo must not widen a schema.

use serde_json::{Map, Value};

/// A dialect of JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Draft7,
    Draft202012,
}

impl Dialect {
    /// The dialect that a `$schema` names.
    pub(super) fn named(uri: &str) -> Option<Self> {
        let name = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"))?;
        match name.strip_suffix('#').unwrap_or(name) {
            "json-schema.org/draft-07/schema" => Some(Self::Draft7),
            "json-schema.org/draft/2020-12/schema" => Some(Self::Draft202012),
            _ => None,
        }
    }
}

/// What a keyword holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// No schema that is looked into: a limit, a name, an annotation, a literal value.
    Nothing,
    /// A schema.
    Schema,
    /// A list of schemas.
    List,
    /// Schemas by name.
    Map,
    /// A schema or a list of schemas.
    SchemaOrList,
    /// By name, schemas or lists of names.
    MapOrNames,
    /// A reference to a schema of this document.
    Reference,
}

/// What the schemas in a keyword are applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// The same value as the schema that has the keyword.
    Same,
    /// Something inside that value.
    Inside,
    /// Nothing: they are only kept there, for references.
    Kept,
}

/// One keyword.
pub(super) struct Keyword {
    pub(super) name: &'static str,
    pub(super) holds: Holds,
    pub(super) to: To,
    dialects: Dialects,
    /// Asks nothing of the value, so that draft 7 loses nothing by passing over it beside `$ref`.
    silent: bool,
}

/// A schema inside another one.
pub(super) struct Inner<'a> {
    /// The way to it, as the end of a JSON pointer: `/properties/a`.
    pub(super) path: String,
    pub(super) to: To,
    pub(super) schema: &'a Value,
}

#[derive(Clone, Copy, PartialEq)]
enum Dialects {
    Both,
    Old,
    New,
}

/// The keyword of that name, if the dialect has it.
pub(super) fn find(dialect: Dialect, name: &str) -> Option<&'static Keyword> {
    let other = if dialect == Dialect::Draft7 { Dialects::New } else { Dialects::Old };
    KEYWORDS.iter().find(|keyword| keyword.name == name && keyword.dialects != other)
}

/// Whether a dialect, any one, has a keyword of that name whose value may be an object: a schema, schemas by name, or
/// any value at all.
pub(super) fn may_hold_an_object(name: &str) -> bool {
    let literal = ["const", "default", "$vocabulary", "dependentRequired"].contains(&name);
    literal || KEYWORDS.iter().any(|keyword| keyword.name == name && keyword.holds != Holds::Nothing)
}

/// Whether draft 7 passes over this keyword of a schema, which asks something of the value, because of `$ref` beside it.
pub(super) fn lost_beside_reference(dialect: Dialect, schema: &Map<String, Value>, keyword: &Keyword) -> bool {
    dialect == Dialect::Draft7 && !keyword.silent && schema.contains_key("$ref")
}

/// The schemas directly inside a schema. What has not the form it should have is left to the metaschema.
pub(super) fn inner(dialect: Dialect, schema: &Map<String, Value>) -> Vec<Inner<'_>> {
    let mut found = Vec::new();
    for (name, value) in schema {
        let Some(keyword) = find(dialect, name) else { continue };
        let to = if lost_beside_reference(dialect, schema, keyword) { To::Kept } else { keyword.to };
        let mut add = |path: String, schema| found.push(Inner { path, to, schema });
        match (keyword.holds, value) {
            (Holds::List | Holds::SchemaOrList, Value::Array(list)) => {
                list.iter().enumerate().for_each(|(index, schema)| add(format!("/{name}/{index}"), schema));
            }
            (Holds::Schema | Holds::SchemaOrList, schema) => add(format!("/{name}"), schema),
            (Holds::Map | Holds::MapOrNames, Value::Object(map)) => {
                let names_only = |value: &Value| keyword.holds == Holds::MapOrNames && value.is_array();
                map.iter()
                    .filter(|(_, value)| !names_only(value))
                    .for_each(|(key, schema)| add(format!("/{name}/{}", escape(key)), schema));
            }
            _ => {}
        }
    }
    found
}

/// A key as a part of a JSON pointer.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

const fn keyword(name: &'static str, dialects: Dialects, holds: Holds, to: To) -> Keyword {
    Keyword { name, holds, to, dialects, silent: matches!(to, To::Kept) }
}

/// A keyword that limits the value by itself.
const fn limit(name: &'static str, dialects: Dialects) -> Keyword {
    Keyword { name, holds: Holds::Nothing, to: To::Same, dialects, silent: false }
}

/// A keyword that only says something about the schema.
const fn note(name: &'static str, dialects: Dialects) -> Keyword {
    Keyword { name, holds: Holds::Nothing, to: To::Kept, dialects, silent: true }
}

const KEYWORDS: &[Keyword] = {
    use Dialects::{Both, New, Old};
    use Holds::{List, Map, MapOrNames, Reference, Schema, SchemaOrList};
    use To::{Inside, Kept, Same};
    &[
        note("$comment", Both),
        note("$anchor", New),
        note("$dynamicAnchor", New),
        note("title", Both),
        note("description", Both),
        note("default", Both),
        note("examples", Both),
        note("deprecated", New),
        note("readOnly", Both),
        note("writeOnly", Both),
        keyword("definitions", Both, Map, Kept),
        keyword("$defs", New, Map, Kept),
        Keyword { name: "$ref", holds: Reference, to: Same, dialects: Both, silent: true },
        keyword("$dynamicRef", New, Reference, Same),
        keyword("allOf", Both, List, Same),
        keyword("anyOf", Both, List, Same),
        keyword("oneOf", Both, List, Same),
        keyword("not", Both, Schema, Same),
        keyword("if", Both, Schema, Same),
        keyword("then", Both, Schema, Same),
        keyword("else", Both, Schema, Same),
        keyword("dependentSchemas", New, Map, Same),
        keyword("dependencies", Old, MapOrNames, Same),
        keyword("properties", Both, Map, Inside),
        keyword("patternProperties", Both, Map, Inside),
        keyword("additionalProperties", Both, Schema, Inside),
        keyword("unevaluatedProperties", New, Schema, Inside),
        keyword("propertyNames", Both, Schema, Inside),
        keyword("prefixItems", New, List, Inside),
        keyword("items", Both, SchemaOrList, Inside),
        keyword("additionalItems", Old, Schema, Inside),
        keyword("unevaluatedItems", New, Schema, Inside),
        keyword("contains", Both, Schema, Inside),
        keyword("contentSchema", New, Schema, Kept),
        limit("contentEncoding", Both),
        limit("contentMediaType", Both),
        limit("type", Both),
        limit("enum", Both),
        limit("const", Both),
        limit("multipleOf", Both),
        limit("maximum", Both),
        limit("exclusiveMaximum", Both),
        limit("minimum", Both),
        limit("exclusiveMinimum", Both),
        limit("maxLength", Both),
        limit("minLength", Both),
        limit("pattern", Both),
        limit("format", Both),
        limit("maxItems", Both),
        limit("minItems", Both),
        limit("uniqueItems", Both),
        limit("maxContains", New),
        limit("minContains", New),
        limit("maxProperties", Both),
        limit("minProperties", Both),
        limit("required", Both),
        limit("dependentRequired", New),
    ]
};

#[cfg(test)]
mod tests {
    use super::{Dialect, KEYWORDS, find};

    #[test]
    fn a_dialect_does_not_know_the_other_ones_keywords() {
        for old in ["dependencies", "additionalItems"] {
            assert!(find(Dialect::Draft7, old).is_some() && find(Dialect::Draft202012, old).is_none(), "{old}");
        }
        for new in ["$defs", "prefixItems", "unevaluatedProperties", "dependentRequired", "minContains", "$dynamicRef"]
        {
            assert!(find(Dialect::Draft7, new).is_none() && find(Dialect::Draft202012, new).is_some(), "{new}");
        }
        for neither in ["id", "$recursiveRef", "$vocabulary", "nullable", "discriminator", "Required", ""] {
            assert!(find(Dialect::Draft7, neither).is_none() && find(Dialect::Draft202012, neither).is_none());
        }
    }

    #[test]
    fn every_keyword_is_listed_once() {
        for (index, keyword) in KEYWORDS.iter().enumerate() {
            assert!(!KEYWORDS.iter().skip(index + 1).any(|other| other.name == keyword.name), "{}", keyword.name);
        }
    }
}
