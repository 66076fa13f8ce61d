//! Rewrites a schema so that every reference in it is a JSON pointer from its root.
//!
//! Names (`$id`, `$anchor`, `$dynamicAnchor`) are gone afterwards, and a `$dynamicRef` leads to one place. What the
//! validator gets then has one resource and no dynamic scope, so that where a reference leads is decided here and
//! nowhere else, and `graph` bounds the schema that is really evaluated. (The validator compiles a schema anew for each
//! dynamic scope in which it can be reached, and of those there can be exponentially many.)
//!
//! Where a `$dynamicRef` leads depends on the resources entered on the way to it: to the outermost of them that has a
//! dynamic anchor of that name. A *scope* is what of that way matters, one resource for each name. Entering a resource only
//! ever adds to it, so there are few. A resource that is reached in another scope than the one it has where it
//! stands is copied, to `$defs` of the root.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::keywords::{self, Holds};
use super::places::Places;

/// How many bytes of JSON all copies together may have, and the pointers that take the places of references.
const MAX_COPIED_BYTES: usize = 256 * 1024;

/// How many names of dynamic anchors may be asked for.
const MAX_NAMES: usize = 64;

/// How many scopes there may be.
const MAX_SCOPES: usize = 256;

/// What each of the names leads to: the index of a resource.
type Scope = Vec<Option<usize>>;

struct Flatten<'a> {
    places: &'a Places<'a>,
    /// The names that a `$dynamicRef` asks for.
    names: Vec<&'a str>,
    scopes: Vec<Scope>,
    scope_numbers: HashMap<Scope, usize>,
    /// The scope of each place where it stands.
    standing: Vec<usize>,
    /// Copies by resource and scope: the number in their name.
    copies: HashMap<(usize, usize), usize>,
    /// Copies that are still to be made.
    due: Vec<(usize, usize, String)>,
    copied_bytes: usize,
    /// What the copies' names begin with.
    prefix: String,
}

/// The schema, rewritten. The error says which reference cannot be followed, and where.
pub(super) fn flatten<'a>(places: &'a Places<'a>) -> Result<Value, String> {
    let mut flatten = Flatten {
        places,
        names: Vec::new(),
        scopes: Vec::new(),
        scope_numbers: HashMap::new(),
        standing: Vec::new(),
        copies: HashMap::new(),
        due: Vec::new(),
        copied_bytes: 0,
        prefix: free_prefix(places),
    };
    flatten.collect_names()?;
    flatten.find_scopes()?;
    let mut root = flatten.rewrite(0, 0)?;
    let mut copies = Map::new();
    while let Some((resource, scope, name)) = flatten.due.pop() {
        let start = places.resources.get(resource).map_or(0, |resource| resource.root);
        copies.insert(name, flatten.rewrite(start, scope)?);
    }
    if let (false, Some(root)) = (copies.is_empty(), root.as_object_mut())
        && let Value::Object(kept) = root.entry("$defs").or_insert_with(|| Value::Object(Map::new()))
    {
        kept.extend(copies);
    }
    Ok(root)
}

/// A beginning that no key of the root's `$defs` has.
fn free_prefix(places: &Places<'_>) -> String {
    let kept = places.places.first().and_then(|root| root.schema.get("$defs")).and_then(Value::as_object);
    let taken = |prefix: &String| kept.is_some_and(|kept| kept.keys().any(|key| key.starts_with(prefix.as_str())));
    let mut prefix = "copy".to_owned();
    while taken(&prefix) {
        prefix.push('_');
    }
    prefix
}

impl<'a> Flatten<'a> {
    fn collect_names(&mut self) -> Result<(), String> {
        for (index, place) in self.places.places.iter().enumerate() {
            let Some(Value::String(reference)) = place.schema.get("$dynamicRef") else { continue };
            let Some(name) = self.places.resolve(index, reference)?.dynamic else { continue };
            if !self.names.contains(&name) {
                self.names.push(name);
            }
            if self.names.len() > MAX_NAMES {
                return Err(format!("has dynamic references to more than {MAX_NAMES} names"));
            }
        }
        Ok(())
    }

    fn find_scopes(&mut self) -> Result<(), String> {
        for place in &self.places.places {
            let around = place.parent.and_then(|(parent, _)| self.standing.get(parent)).copied();
            let scope = self.enter(around, place.resource)?;
            self.standing.push(scope);
        }
        Ok(())
    }

    /// The scope after entering a resource. From none where there was none before.
    fn enter(&mut self, scope: Option<usize>, resource: usize) -> Result<usize, String> {
        let none = || vec![None; self.names.len()];
        let mut entered = scope.and_then(|scope| self.scopes.get(scope)).cloned().unwrap_or_else(none);
        for (name, leads_to) in self.names.iter().zip(&mut entered) {
            if leads_to.is_none() && self.places.dynamic_anchor(resource, name).is_some() {
                *leads_to = Some(resource);
            }
        }
        if let Some(known) = self.scope_numbers.get(&entered) {
            return Ok(*known);
        }
        if self.scopes.len() >= MAX_SCOPES {
            return Err(format!("has dynamic references in more than {MAX_SCOPES} scopes"));
        }
        self.scope_numbers.insert(entered.clone(), self.scopes.len());
        self.scopes.push(entered);
        Ok(self.scopes.len() - 1)
    }

    /// A schema and everything in it, as it is in a scope.
    fn rewrite(&mut self, place: usize, scope: usize) -> Result<Value, String> {
        let Some(found) = self.places.places.get(place) else { return Ok(Value::Bool(false)) };
        let Value::Object(schema) = found.schema else { return Ok(found.schema.clone()) };
        let scope = self.enter(Some(scope), found.resource)?;
        let mut written = Map::new();
        for (name, value) in schema {
            let value = match (keywords::find(self.places.dialect, name).map(|keyword| keyword.holds), value) {
                _ if ["$id", "$schema", "$anchor", "$dynamicAnchor"].contains(&name.as_str()) => continue,
                (Some(Holds::Reference), Value::String(reference)) => {
                    let target = self.target(place, scope, name == "$dynamicRef", reference)?;
                    self.copies(target.len())?;
                    Value::String(target)
                }
                _ => value.clone(),
            };
            written.insert(name.clone(), value);
        }
        let mut written = Value::Object(written);
        let mut child = place + 1;
        for inner in keywords::inner(self.places.dialect, schema) {
            let rewritten = self.rewrite(child, scope)?;
            child += self.places.places.get(child).map_or(1, |child| child.size);
            if let Some(place) = written.pointer_mut(&inner.path) {
                *place = rewritten;
            }
        }
        Ok(written)
    }

    /// The pointer to where a reference leads in a scope.
    fn target(&mut self, from: usize, scope: usize, dynamic: bool, reference: &'a str) -> Result<String, String> {
        let found = self.places.resolve(from, reference)?;
        let outermost = found.dynamic.filter(|_| dynamic).and_then(|name| {
            let number = self.names.iter().position(|known| *known == name)?;
            let resource = self.scopes.get(scope)?.get(number).copied()??;
            self.places.dynamic_anchor(resource, name)
        });
        let index = outermost.unwrap_or(found.place);
        let Some(place) = self.places.places.get(index) else { return Ok("#".to_owned()) };
        let scope = self.enter(Some(scope), place.resource)?;
        if self.standing.get(index) == Some(&scope) {
            return Ok(format!("#{}", percent_encoded(&place.pointer)));
        }
        let root = self.places.resources.get(place.resource).and_then(|found| self.places.places.get(found.root));
        let inside = root.and_then(|root| place.pointer.strip_prefix(&root.pointer)).unwrap_or_default();
        Ok(format!("#/$defs/{}{}", self.copy(place.resource, scope)?, percent_encoded(inside)))
    }

    /// The name of the copy of a resource in a scope.
    fn copy(&mut self, resource: usize, scope: usize) -> Result<String, String> {
        let next = self.copies.len() + 1;
        let number = *self.copies.entry((resource, scope)).or_insert(next);
        let name = format!("{}{number}", self.prefix);
        if number == next {
            let root = self.places.resources.get(resource).and_then(|found| self.places.places.get(found.root));
            self.copies(root.map_or(0, |root| root.schema.to_string().len()))?;
            self.due.push((resource, scope, name.clone()));
        }
        Ok(name)
    }

    fn copies(&mut self, bytes: usize) -> Result<(), String> {
        self.copied_bytes += bytes;
        if self.copied_bytes > MAX_COPIED_BYTES {
            return Err(format!("comes to more than {MAX_COPIED_BYTES} bytes once its references are written out"));
        }
        Ok(())
    }
}

/// A JSON pointer as the fragment of a URI.
fn percent_encoded(pointer: &str) -> String {
    let mut encoded = String::with_capacity(pointer.len());
    for byte in pointer.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/$".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
