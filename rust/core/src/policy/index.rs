//! Finds the rules that a request may meet, so that a long document costs no more than a short one.
//!
//! Each rule is filed under what its tools (or else its agents) begin with, up to the first star; a request is looked up
//! by what its own names begin with. A rule that names neither is looked at for every request. Filing only leaves out
//! rules that cannot match: which of the others comes first is still found by asking them.

use std::collections::HashMap;

use super::compiled::{Alternatives, Rule};
use super::evaluate::AccessRequest;

/// Beginnings are cut to one of these lengths, in bytes, so that few have to be looked up.
const LENGTHS: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// Positions of rules, by what they need.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    tools: Names,
    agents: Names,
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
            let (tools, agents) = (rule.tools.as_ref(), rule.agent_ids.as_ref());
            let exact = |names: &&Alternatives| names.globs().iter().all(|glob| glob.is_exact());
            let begun = |names: &&Alternatives| names.globs().iter().all(|glob| !glob.prefix().is_empty());
            if let Some(names) = tools.filter(exact) {
                index.tools.file(position, names);
            } else if let Some(names) = agents.filter(exact) {
                index.agents.file(position, names);
            } else if let Some(names) = tools.filter(begun) {
                index.tools.file(position, names);
            } else if let Some(names) = agents.filter(begun) {
                index.agents.file(position, names);
            } else {
                index.rest.push(position);
            }
        }
        index
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
        look(&self.rest);
        best.map(|(_, rule)| rule)
    }
}

impl Names {
    fn file(&mut self, position: usize, names: &Alternatives) {
        for glob in names.globs() {
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
