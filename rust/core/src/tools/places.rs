//! Walks a schema through every place that holds one, and finds out what each is called.
//!
//! Two things end here that the validator would let pass: keywords the dialect does not know (it ignores them), and
//! references that lead outside of the document or to something that is no schema. Names are `$id`, `$anchor` and
//! `$dynamicAnchor`, and in draft 7 a `$id` that is only a fragment.

use std::collections::HashMap;

use jsonschema::{Uri, uri};
use serde_json::{Map, Value};

use super::keywords::{self, Dialect, To};
use crate::fields::quote;
use crate::percent;

/// How many bytes the pointers to all schemas may have. Here and in the validator each of them has its own.
const MAX_POINTER_BYTES: usize = 2 * 1024 * 1024;

/// The schemas of a document.
pub(super) struct Places<'a> {
    pub(super) dialect: Dialect,
    /// The first is the root; each comes after the one it is in.
    pub(super) places: Vec<Place<'a>>,
    pub(super) resources: Vec<Resource<'a>>,
    /// What the standard passes over, and whoever wrote the schema may not have meant.
    pub(super) warnings: Vec<String>,
    by_pointer: HashMap<String, usize>,
    by_uri: HashMap<String, usize>,
    pointer_bytes: usize,
}

/// One schema.
pub(super) struct Place<'a> {
    /// Where it is, as a JSON pointer.
    pub(super) pointer: String,
    pub(super) schema: &'a Value,
    /// The schema that it is directly in.
    pub(super) parent: Option<(usize, To)>,
    /// The resource that it belongs to: itself or the nearest one around it that has a `$id`, or the root.
    pub(super) resource: usize,
    /// How many schemas it is, those inside it included. They follow it.
    pub(super) size: usize,
}

/// A schema with a URI of its own, and what belongs to it.
pub(super) struct Resource<'a> {
    pub(super) root: usize,
    uri: Uri<String>,
    anchors: HashMap<&'a str, Anchor>,
}

struct Anchor {
    place: usize,
    dynamic: bool,
}

/// Where a reference leads.
pub(super) struct Target<'a> {
    pub(super) place: usize,
    /// The name of the dynamic anchor it came by.
    pub(super) dynamic: Option<&'a str>,
}

impl<'a> Places<'a> {
    /// Find all schemas. The error says what is wrong and where.
    pub(super) fn find(dialect: Dialect, schema: &'a Value) -> Result<Self, String> {
        let uri = uri::from_str("").map_err(|error| error.to_string())?;
        let mut found = Self {
            dialect,
            places: Vec::new(),
            resources: vec![Resource { root: 0, uri, anchors: HashMap::new() }],
            warnings: Vec::new(),
            by_pointer: HashMap::new(),
            by_uri: HashMap::new(),
            pointer_bytes: 0,
        };
        found.visit(String::new(), schema, None)?;
        Ok(found)
    }

    /// Where the reference of a schema leads.
    pub(super) fn resolve(&self, from: usize, reference: &'a str) -> Result<Target<'a>, String> {
        let place = self.places.get(from).map_or("", |place| &place.pointer);
        let wrong = |what| format!("at `{}`: refers to `{}`, {what}", quote(place), quote(reference));
        let (uri, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let resource = match (uri, self.resource_of(from)) {
            ("", Some(own)) => Some(own),
            (uri, Some(own)) => self.with_uri(own, uri),
            _ => None,
        };
        let resource = resource.ok_or_else(|| wrong("outside of the document"))?;
        let none = || wrong("which is no schema of the document");
        let written = fragment;
        let fragment = percent::strictly_decoded(fragment).ok_or_else(none)?;
        if fragment.is_empty() {
            return Ok(Target { place: resource.root, dynamic: None });
        }
        if fragment.starts_with('/') {
            let root = self.places.get(resource.root).map_or("", |root| &root.pointer);
            let place = self.by_pointer.get(&format!("{root}{fragment}")).copied().ok_or_else(none)?;
            return Ok(Target { place, dynamic: None });
        }
        let anchor = resource.anchors.get(fragment.as_str()).ok_or_else(none)?;
        Ok(Target { place: anchor.place, dynamic: anchor.dynamic.then_some(written) })
    }

    /// The place of the dynamic anchor of that name in a resource.
    pub(super) fn dynamic_anchor(&self, resource: usize, name: &str) -> Option<usize> {
        let anchor = self.resources.get(resource)?.anchors.get(name)?;
        anchor.dynamic.then_some(anchor.place)
    }

    /// Every regular expression, and where it is.
    pub(super) fn patterns(&self) -> impl Iterator<Item = (&'a str, &str)> {
        let in_schemas =
            self.places.iter().filter_map(|place| Some((place.schema.as_object()?, place.pointer.as_str())));
        in_schemas.flat_map(|(schema, place)| {
            let keys = schema.get("patternProperties").and_then(Value::as_object).into_iter().flat_map(Map::keys);
            let all = keys.map(String::as_str).chain(schema.get("pattern").and_then(Value::as_str));
            all.map(move |pattern| (pattern, place))
        })
    }

    /// Says where a `format` is, if there is one.
    pub(super) fn format(&self) -> Option<String> {
        let place = self.places.iter().find(|place| place.schema.get("format").is_some())?;
        let what = "`format` is not enforced unless the file has `\"formats\": \"enforce\"`";
        Some(format!("at `{}`: {what}", quote(&place.pointer)))
    }

    fn resource_of(&self, place: usize) -> Option<&Resource<'a>> {
        self.resources.get(self.places.get(place)?.resource)
    }

    fn with_uri(&self, base: &Resource<'a>, reference: &str) -> Option<&Resource<'a>> {
        let uri = uri::resolve_against(&base.uri.borrow(), reference).ok()?;
        self.resources.get(*self.by_uri.get(uri.as_str())?)
    }

    fn visit(&mut self, pointer: String, schema: &'a Value, parent: Option<(usize, To)>) -> Result<(), String> {
        let wrong = |what: String| Err(format!("at `{}`: {what}", quote(&pointer)));
        let index = self.places.len();
        let resource = parent.and_then(|(parent, _)| self.places.get(parent)).map_or(0, |parent| parent.resource);
        self.pointer_bytes += pointer.len();
        if self.pointer_bytes > MAX_POINTER_BYTES {
            return Err(format!("has names so long that the places in it come to more than {MAX_POINTER_BYTES} bytes"));
        }
        self.by_pointer.insert(pointer.clone(), index);
        self.places.push(Place { pointer: pointer.clone(), schema, parent, resource, size: 1 });
        let schema = match schema {
            Value::Bool(_) => return Ok(()),
            Value::Object(schema) => schema,
            _ => return wrong("a schema must be an object or a boolean".to_owned()),
        };
        if let Err(what) = self.name(index, schema).and_then(|()| self.check_keywords(&pointer, schema)) {
            return wrong(what);
        }
        for inner in keywords::inner(self.dialect, schema) {
            self.visit(format!("{pointer}{}", inner.path), inner.schema, Some((index, inner.to)))?;
        }
        let after = self.places.len();
        if let Some(place) = self.places.get_mut(index) {
            place.size = after.saturating_sub(index);
        }
        Ok(())
    }

    /// Note what a schema is called.
    fn name(&mut self, place: usize, schema: &'a Map<String, Value>) -> Result<(), String> {
        // Draft 7 passes over everything beside `$ref`.
        let counts = self.dialect == Dialect::Draft202012 || !schema.contains_key("$ref");
        let is_resource = match string(schema, "$id")? {
            Some(id) if counts => self.identify(place, id)?,
            _ => false,
        };
        if let Some(dialect) = string(schema, "$schema")? {
            if place != 0 && !is_resource {
                return Err("`$schema` belongs to the top, or beside `$id`".to_owned());
            }
            if Dialect::named(dialect) != Some(self.dialect) {
                return Err(format!("`$schema` is `{}`, another one than at the top", quote(dialect)));
            }
        }
        if self.dialect == Dialect::Draft202012 {
            for (keyword, dynamic) in [("$anchor", false), ("$dynamicAnchor", true)] {
                if let Some(name) = string(schema, keyword)? {
                    self.anchor(place, name, dynamic)?;
                }
            }
        }
        Ok(())
    }

    /// Note a `$id`. Says whether it makes a resource of the schema.
    fn identify(&mut self, place: usize, id: &'a str) -> Result<bool, String> {
        let (relative, fragment) = id.split_once('#').unwrap_or((id, ""));
        let plain = !fragment.is_empty() && !fragment.starts_with('/');
        if plain && self.dialect == Dialect::Draft202012 {
            return Err(format!("`$id` `{}` has a fragment: that is what `$anchor` is for", quote(id)));
        }
        if !relative.is_empty() {
            let unusable = || format!("`$id` `{}` is no URI", quote(id));
            let base = self.resource_of(place).ok_or_else(unusable)?;
            let uri = uri::resolve_against(&base.uri.borrow(), relative).map_err(|_| unusable())?;
            let index = if place == 0 { 0 } else { self.resources.len() };
            if self.by_uri.insert(uri.as_str().to_owned(), index).is_some() {
                return Err(format!("`$id` `{}` is given twice", quote(id)));
            }
            let resource = Resource { root: place, uri, anchors: HashMap::new() };
            match self.resources.get_mut(index) {
                Some(root) => *root = resource,
                None => self.resources.push(resource),
            }
            if let Some(place) = self.places.get_mut(place) {
                place.resource = index;
            }
        }
        if plain {
            self.anchor(place, fragment, false)?;
        }
        Ok(!relative.is_empty())
    }

    fn anchor(&mut self, place: usize, name: &'a str, dynamic: bool) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if !name.chars().all(plain) || !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Err(format!("`{}` is no name for an anchor", quote(name)));
        }
        let resource = self.places.get(place).map_or(0, |place| place.resource);
        let anchors = self.resources.get_mut(resource).map(|resource| &mut resource.anchors);
        let taken = anchors.and_then(|anchors| anchors.insert(name, Anchor { place, dynamic }));
        if taken.is_some() { Err(format!("the anchor `{}` is given twice", quote(name))) } else { Ok(()) }
    }

    fn check_keywords(&mut self, place: &str, schema: &Map<String, Value>) -> Result<(), String> {
        for (name, value) in schema.iter().filter(|(name, _)| !["$id", "$schema"].contains(&name.as_str())) {
            let keyword = keywords::find(self.dialect, name).ok_or_else(|| unknown(self.dialect, name))?;
            if keywords::lost_beside_reference(self.dialect, schema, keyword) {
                let what = format!("at `{}`: draft 7 passes over `{name}` beside `$ref`", quote(place));
                self.warnings.push(format!("{what}: put both under `allOf`"));
            }
            let checked = match name.as_str() {
                "contentEncoding" => "base64",
                "contentMediaType" => "application/json",
                _ => continue,
            };
            if self.dialect == Dialect::Draft7 && value != checked {
                return Err(format!("only `{checked}` can be checked as `{name}`"));
            }
        }
        Ok(())
    }
}

fn string<'a>(schema: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match schema.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{name}` must be a string")),
    }
}

fn unknown(dialect: Dialect, name: &str) -> String {
    match dialect {
        Dialect::Draft7 => format!("unknown keyword `{}` in draft 7", quote(name)),
        Dialect::Draft202012 => format!("unknown keyword `{}` in draft 2020-12", quote(name)),
    }
}
