//! Bounds what a schema costs, by following its references.
//!
//! Two things end here that the validator would come to grief on: schemas that apply themselves to the same value again
//! (it takes them for `true`), and schemas whose compilation or evaluation recurses too deep or multiplies. Schemas
//! come from operators, but also from whoever may register a tool.

use serde_json::Value;

use super::keywords::To;
use super::places::{Place, Places};
use crate::fields::quote;

/// How many schemas may be applied to one value inside each other. With the bound on arguments, it bounds the stack.
const MAX_CHAIN: usize = 32;

/// How often the validator goes through the schemas that apply to the same value for each `unevaluated...` beside them:
/// to compile or evaluate them, to find out which of them hold, and to collect what those looked at.
const UNEVALUATED_FACTOR: usize = 2;

/// What the walk found out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// A reference leads back to a schema that it is inside of.
    pub(super) recursive: bool,
    /// How many schemas one evaluation comes to, each reference counted as often as it is followed, and with them
    /// the literal values that are compared.
    pub(super) cost: usize,
}

/// Measure a schema whose references all stay inside it. `max_cost` is the largest `cost` that is allowed.
pub(super) fn inspect(places: &Places<'_>, max_cost: usize) -> Result<Shape, String> {
    let graph = Graph::of(places)?;
    let (order, cyclic) = graph.order(|to| to == To::Same);
    if let Some(place) = cyclic {
        return Err(format!("refers to itself at `{}` without looking into the value", quote(&place)));
    }
    let longest = |_: &Node, inner: &[(usize, To)]| {
        inner.iter().map(|(longest, _)| *longest).max().map_or(1, |longest| longest + 1)
    };
    if graph.fold(&order, |to| to == To::Same, longest).into_iter().max() > Some(MAX_CHAIN) {
        return Err(format!("applies more than {MAX_CHAIN} schemas inside each other to one value"));
    }
    let (order, cyclic) = graph.order(|_| true);
    let sum = |node: &Node, inner: &[(usize, To)]| {
        let weighed = |(cost, to): &(usize, To)| cost.saturating_mul(if *to == To::Same { node.times } else { 1 });
        inner.iter().map(weighed).fold(node.own_cost, usize::saturating_add)
    };
    let cost = graph.fold(&order, |_| true, sum).first().copied().unwrap_or(1);
    if cost > max_cost {
        return Err(format!("comes to more than {max_cost} schemas and values once its references are followed"));
    }
    Ok(Shape { recursive: cyclic.is_some(), cost })
}

struct Graph {
    /// The schemas, the first of which is the root.
    nodes: Vec<Node>,
}

struct Node {
    place: String,
    leads_to: Vec<(usize, To)>,
    own_cost: usize,
    /// How often the schemas that apply to the same value are gone through.
    times: usize,
}

impl Graph {
    fn of(places: &Places<'_>) -> Result<Self, String> {
        let mut graph = Self { nodes: places.places.iter().map(Node::of).collect() };
        for (index, place) in places.places.iter().enumerate() {
            if let Some((parent, to)) = place.parent.filter(|(_, to)| *to != To::Kept) {
                graph.connect(parent, index, to);
            }
            for keyword in ["$ref", "$dynamicRef"] {
                if let Some(Value::String(reference)) = place.schema.get(keyword) {
                    graph.connect(index, places.resolve(index, reference)?.place, To::Same);
                }
            }
        }
        Ok(graph)
    }

    fn connect(&mut self, from: usize, target: usize, to: To) {
        if let Some(node) = self.nodes.get_mut(from) {
            node.leads_to.push((target, to));
        }
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
    fn fold(
        &self,
        order: &[usize],
        follow: impl Fn(To) -> bool,
        of: impl Fn(&Node, &[(usize, To)]) -> usize,
    ) -> Vec<usize> {
        let mut numbers = vec![1; self.nodes.len()];
        for index in order {
            let Some(node) = self.nodes.get(*index) else { continue };
            let followed = node.leads_to.iter().filter(|(_, to)| follow(*to));
            let inner: Vec<_> =
                followed.filter_map(|(target, to)| numbers.get(*target).map(|number| (*number, *to))).collect();
            if let Some(number) = numbers.get_mut(*index) {
                *number = of(node, &inner);
            }
        }
        numbers
    }
}

impl Node {
    fn of(place: &Place<'_>) -> Self {
        let literal = |name| place.schema.get(name).map_or(0, values_in);
        let literals: usize =
            ["enum", "const", "required", "dependentRequired", "dependencies"].map(literal).iter().sum();
        let unevaluated = ["unevaluatedProperties", "unevaluatedItems"].map(|name| place.schema.get(name));
        let unevaluated = unevaluated.iter().flatten().count();
        Self {
            place: place.pointer.clone(),
            leads_to: Vec::new(),
            own_cost: 1 + literals,
            times: 1 + UNEVALUATED_FACTOR * unevaluated,
        }
    }
}

/// How many values a value is, those inside it included.
fn values_in(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(values_in).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(values_in).sum::<usize>(),
        _ => 1,
    }
}
