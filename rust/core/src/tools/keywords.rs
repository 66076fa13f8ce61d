//! The keywords of the two dialects, and where each holds schemas.
//!
//! The validator passes over keywords it does not know. Here they are an error: a typo must not widen a schema.
//! Likewise a keyword that its dialect would pass over beside another one (`$ref` in draft 7).

/// A dialect of JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Draft7,
    Draft202012,
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
    /// May stand beside `$ref` in draft 7, because it asks nothing of the value.
    silent: bool,
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

/// Whether a keyword asks something of the value, and so may not stand beside `$ref` in draft 7.
pub(super) fn lost_beside_reference(dialect: Dialect, keyword: &Keyword) -> bool {
    dialect == Dialect::Draft7 && !keyword.silent
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
