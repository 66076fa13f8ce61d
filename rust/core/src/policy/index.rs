//! Finds the rules that a request may meet, so that a long document costs no more than a short one.
//!
//! Each rule is filed under its tools, its agents or one of its attributes: under one of these that has no star if there
//! is one, else under what one of them begins with, up to the first star. A request is looked up by its own names and what
//! they begin with. A rule that names none of these is looked at for every request. Filing only leaves out rules that
//! cannot match: which of the others comes first is still found by asking them.

use std::collections::HashMap;

use super::compiled::{Alternatives, Rule};
use super::evaluate::AccessRequest;
use crate::glob::Glob;

/// Beginnings are cut to one of these lengths, in bytes, so that few have to be looked up.
const LENGTHS: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// Positions of rules, by what they need.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    tools: Names,
    agents: Names,
    /// By the name of the attribute.
    attributes: HashMap<Box<str>, Names>,
    rest: Vec<usize>,
}

#[derive(Debug, Clone, Default)]
struct Names {
    exact: HashMap<Box<str>, Vec<usize>>,
    by_beginning: [HashMap<Box<[u8]>, Vec<usize>>; LENGTHS.len()],
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (position, rule) in rules.iter().enumerate() {
            if !(index.file(position, rule, Glob::is_exact)
                || index.file(position, rule, |glob| !glob.prefix().is_empty()))
            {
                index.rest.push(position);
            }
        }
        index
    }

    /// File a rule under a condition of which all values are of this kind. Whether there is one.
    fn file(&mut self, position: usize, rule: &Rule, is_fit: impl Fn(&Glob) -> bool) -> bool {
        let fit = |names: &&[Glob]| names.iter().all(&is_fit);
        if let Some(names) = rule.tools.as_ref().map(Alternatives::globs).filter(fit) {
            self.tools.file(position, names);
        } else if let Some(names) = rule.agent_ids.as_ref().map(Alternatives::globs).filter(fit) {
            self.agents.file(position, names);
        } else if let Some((name, value)) = rule.attributes.iter().find(|(_, value)| is_fit(value)) {
            self.attributes.entry(name.as_str().into()).or_default().file(position, std::slice::from_ref(value));
        } else {
            return false;
        }
        true
    }

    /// The first rule, in the document's order, that `matches`. Those that cannot are not asked.
    pub(super) fn first<'r>(
        &self,
        rules: &'r [Rule],
        request: &AccessRequest<'_>,
        matches: impl Fn(&Rule) -> bool,
    ) -> Option<&'r Rule> {
        let mut best: Option<(usize, &Rule)> = None;
        let mut look = |positions: &[usize]| {
            let earlier = |position: &&usize| best.is_none_or(|(at, _)| **position < at);
            let candidates = positions.iter().take_while(earlier).filter_map(|at| Some((*at, rules.get(*at)?)));
            best = candidates.into_iter().find(|(_, rule)| matches(rule)).or(best);
        };
        self.agents.for_each(request.agent_id, &mut look);
        if let Some(tool) = request.tool {
            self.tools.for_each(tool, &mut look);
        }
        if !self.attributes.is_empty() {
            for (name, value) in request.attributes {
                if let Some(values) = self.attributes.get(*name) {
                    values.for_each(value, &mut look);
                }
            }
        }
        look(&self.rest);
        best.map(|(_, rule)| rule)
    }
}

impl Names {
    fn file(&mut self, position: usize, names: &[Glob]) {
        for glob in names {
            let prefix = glob.prefix();
            let positions = if glob.is_exact() {
                self.exact.entry(prefix.into()).or_default()
            } else {
                let longest =
                    LENGTHS.iter().zip(&mut self.by_beginning).rev().find(|(length, _)| **length <= prefix.len());
                let Some((length, filed)) = longest else { continue };
                filed.entry(prefix.as_bytes().iter().take(*length).copied().collect()).or_default()
            };
            // Two values of one rule may begin alike.
            if positions.last() != Some(&position) {
                positions.push(position);
            }
        }
    }

    fn for_each(&self, name: &str, look: &mut impl FnMut(&[usize])) {
        if let Some(positions) = self.exact.get(name) {
            look(positions);
        }
        for (length, filed) in LENGTHS.iter().zip(&self.by_beginning).filter(|(_, filed)| !filed.is_empty()) {
            let Some(beginning) = name.as_bytes().get(..*length) else { break };
            if let Some(positions) = filed.get(beginning) {
                look(positions);
            }
        }
    }
}
