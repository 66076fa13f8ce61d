//! Policies for both engines: the same rules, said in the words of each.

use cedar_policy::{Authorizer, Context, Decision, Entities, PolicySet, Request};
use serde_json::{Value, json};

/// How many rules come before the one that matches.
pub const RULES: usize = 999;

/// Who asks in every benchmark, and for which tool.
pub const ASKED: (&str, &str) = ("agent-x", "search_web");

/// Agents and tools of the rules, the last of which is the one that matches. With `begun`, the names say what they begin
/// with, and rules can be looked up by it; without, every rule has to be asked.
pub fn rules(begun: bool) -> Vec<(String, String)> {
    let tool = |number: usize| if begun { format!("tool_{number}_*") } else { format!("*_tool_{number}") };
    let agent = |number: usize| if begun { format!("agent-{number}") } else { format!("*-{number}") };
    let mut rules: Vec<_> = (0..RULES).map(|number| (agent(number), tool(number))).collect();
    rules.push(if begun { ("agent-x".into(), "search_*".into()) } else { ("*-x".into(), "*_web".into()) });
    rules
}

/// Our document.
pub fn document(rules: &[(String, String)]) -> Vec<u8> {
    let rule = |(number, (agent, tool)): (usize, &(String, String))| {
        let conditions = json!({"agentIds": [agent], "actions": ["tool:execute"], "tools": [tool]});
        json!({"id": format!("r{number}"), "decision": "allow", "match": conditions})
    };
    let rules: Vec<Value> = rules.iter().enumerate().map(rule).collect();
    json!({"rules": rules}).to_string().into_bytes()
}

/// The same in Cedar: who asks and the tool are in the context, where patterns can be compared.
pub struct Cedar {
    authorizer: Authorizer,
    policies: PolicySet,
    request: Request,
}

impl Cedar {
    /// Compile the rules.
    pub fn new(rules: &[(String, String)]) -> Result<Self, Box<dyn std::error::Error>> {
        let rule = |(agent, tool): &(String, String)| {
            format!(
                "permit(principal, action == Action::\"tool:execute\", resource)
                 when {{ context.agent like \"{agent}\" && context.tool like \"{tool}\" }};"
            )
        };
        let policies = rules.iter().map(rule).collect::<Vec<_>>().join("\n").parse()?;
        let context = Context::from_json_value(json!({"agent": ASKED.0, "tool": ASKED.1}), None)?;
        let request = Request::new(
            "Agent::\"agent-x\"".parse()?,
            "Action::\"tool:execute\"".parse()?,
            "Tool::\"search_web\"".parse()?,
            context,
            None,
        )?;
        Ok(Self { authorizer: Authorizer::new(), policies, request })
    }

    /// Whether the request is allowed.
    pub fn allows(&self) -> bool {
        let answer = self.authorizer.is_authorized(&self.request, &self.policies, &Entities::empty());
        answer.decision() == Decision::Allow
    }
}
