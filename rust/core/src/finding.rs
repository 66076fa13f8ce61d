//! What the firewall can find, and where it found it.

use crate::text::Span;

/// What kind of thing was found. The names are on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // the names say it
pub enum Category {
    InstructionOverride,
    RoleManipulation,
    PromptExtraction,
    Delimiter,
    Jailbreak,
    Hidden,
    Exfiltration,
    Indirect,
    Violence,
    Hate,
    SelfHarm,
    Sexual,
    Illegal,
    Profanity,
    BlockedPhrase,
    Email,
    Phone,
    Ssn,
    CreditCard,
    IpAddress,
    Iban,
    Secret,
    Length,
    ControlCharacters,
    Entropy,
    Repetition,
    RoleDistribution,
}

/// The part of the risk that a category belongs to; each part has a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Part {
    Injection,
    Harmful,
    Pii,
    Abnormality,
}

impl Part {
    /// The name on the wire, with which the names of its categories begin.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Injection => "injection",
            Self::Harmful => "harmful",
            Self::Pii => "pii",
            Self::Abnormality => "abnormality",
        }
    }
}

impl Category {
    /// Every category, in the order in which equal scores are reported.
    pub const ALL: [Self; 27] = [
        Self::InstructionOverride,
        Self::RoleManipulation,
        Self::PromptExtraction,
        Self::Delimiter,
        Self::Jailbreak,
        Self::Hidden,
        Self::Exfiltration,
        Self::Indirect,
        Self::Violence,
        Self::Hate,
        Self::SelfHarm,
        Self::Sexual,
        Self::Illegal,
        Self::Profanity,
        Self::BlockedPhrase,
        Self::Email,
        Self::Phone,
        Self::Ssn,
        Self::CreditCard,
        Self::IpAddress,
        Self::Iban,
        Self::Secret,
        Self::Length,
        Self::ControlCharacters,
        Self::Entropy,
        Self::Repetition,
        Self::RoleDistribution,
    ];

    /// The name on the wire.
    ///
    /// ```
    /// use kalguard_core::finding::Category;
    /// assert_eq!(Category::InstructionOverride.as_str(), "injection.instruction_override");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InstructionOverride => "injection.instruction_override",
            Self::RoleManipulation => "injection.role_manipulation",
            Self::PromptExtraction => "injection.prompt_extraction",
            Self::Delimiter => "injection.delimiter",
            Self::Jailbreak => "injection.jailbreak",
            Self::Hidden => "injection.hidden",
            Self::Exfiltration => "injection.exfiltration",
            Self::Indirect => "injection.indirect",
            Self::Violence => "harmful.violence",
            Self::Hate => "harmful.hate",
            Self::SelfHarm => "harmful.self_harm",
            Self::Sexual => "harmful.sexual",
            Self::Illegal => "harmful.illegal",
            Self::Profanity => "harmful.profanity",
            Self::BlockedPhrase => "harmful.blocked_phrase",
            Self::Email => "pii.email",
            Self::Phone => "pii.phone",
            Self::Ssn => "pii.ssn",
            Self::CreditCard => "pii.credit_card",
            Self::IpAddress => "pii.ip_address",
            Self::Iban => "pii.iban",
            Self::Secret => "pii.secret",
            Self::Length => "abnormality.length",
            Self::ControlCharacters => "abnormality.control_characters",
            Self::Entropy => "abnormality.entropy",
            Self::Repetition => "abnormality.repetition",
            Self::RoleDistribution => "abnormality.role_distribution",
        }
    }

    /// What was found, for a person.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::InstructionOverride => "an attempt to make the model drop or replace its instructions",
            Self::RoleManipulation => "an attempt to make the model take a role without its rules",
            Self::PromptExtraction => "a request for the system prompt or other hidden text",
            Self::Delimiter => "fake turns, control tokens or closing tags of a chat format",
            Self::Jailbreak => "a known way of talking a model out of its limits",
            Self::Hidden => "text that is encoded, disguised or invisible to a person",
            Self::Exfiltration => "data on its way out through a link, an image or an address",
            Self::Indirect => "instructions to the assistant where no instructions belong",
            Self::Violence => "violence and weapons",
            Self::Hate => "hatred of groups of people",
            Self::SelfHarm => "self-harm and suicide",
            Self::Sexual => "sexual content",
            Self::Illegal => "drugs, fraud, theft, malware and other crime",
            Self::Profanity => "abusive language",
            Self::BlockedPhrase => "a phrase that the operator blocks",
            Self::Email => "an e-mail address",
            Self::Phone => "a telephone number",
            Self::Ssn => "a US social security number",
            Self::CreditCard => "a payment card number",
            Self::IpAddress => "an IP address",
            Self::Iban => "a bank account number (IBAN)",
            Self::Secret => "a key, password, token or other secret",
            Self::Length => "a very long text",
            Self::ControlCharacters => "control characters",
            Self::Entropy => "a long run of unordered characters",
            Self::Repetition => "the same character or word again and again",
            Self::RoleDistribution => "an odd sequence of roles, or very many messages",
        }
    }

    /// Read a name as it stands on the wire.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.as_str() == name)
    }

    /// The part of the risk that this category counts towards.
    #[must_use]
    pub const fn part(self) -> Part {
        match self {
            Self::InstructionOverride
            | Self::RoleManipulation
            | Self::PromptExtraction
            | Self::Delimiter
            | Self::Jailbreak
            | Self::Hidden
            | Self::Exfiltration
            | Self::Indirect => Part::Injection,
            Self::Violence
            | Self::Hate
            | Self::SelfHarm
            | Self::Sexual
            | Self::Illegal
            | Self::Profanity
            | Self::BlockedPhrase => Part::Harmful,
            Self::Email | Self::Phone | Self::Ssn | Self::CreditCard | Self::IpAddress | Self::Iban | Self::Secret => {
                Part::Pii
            }
            Self::Length | Self::ControlCharacters | Self::Entropy | Self::Repetition | Self::RoleDistribution => {
                Part::Abnormality
            }
        }
    }

    /// What replaces a found span of this category.
    #[must_use]
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::Email => "[EMAIL_REDACTED]",
            Self::Phone => "[PHONE_REDACTED]",
            Self::Ssn => "[SSN_REDACTED]",
            Self::CreditCard => "[CC_REDACTED]",
            Self::IpAddress => "[IP_REDACTED]",
            Self::Iban => "[IBAN_REDACTED]",
            Self::Secret => "[SECRET_REDACTED]",
            _ => "[REDACTED]",
        }
    }
}

/// One hit: which detector, what kind, in which segment, where, and how sure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<'a> {
    /// Id of the pattern or detector; never reused.
    pub id: &'a str,
    /// What was found.
    pub category: Category,
    /// Index of the segment it was found in (the one where it starts).
    pub segment: usize,
    /// Where in that segment's text; empty when the finding is about the text as a whole.
    pub span: Span,
    /// How much it says on its own, 0 to 100, before weights.
    pub score: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_start_with_their_part() {
        let mut names: Vec<_> = Category::ALL.iter().map(|category| category.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Category::ALL.len());
        for category in Category::ALL {
            let part = format!("{}.", category.part().as_str());
            assert!(category.as_str().starts_with(&part), "{category:?}");
            assert_eq!(Category::parse(category.as_str()), Some(category));
        }
    }
}
