//! What is judged: text parts of messages, and who speaks.

use crate::finding::{Category, Finding};
use crate::text::Span;

/// More messages than this are a flood.
const MANY_MESSAGES: usize = 500;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Role {
    System,
    Developer,
    Assistant,
    Tool,
    Function,
    User,
}

impl Role {
    /// Read a role as it stands on the wire. An unknown one counts as the user: nobody gains trust by a new name.
    #[must_use]
    pub fn parse(role: &str) -> Self {
        match role {
            "system" => Self::System,
            "developer" => Self::Developer,
            "assistant" => Self::Assistant,
            "tool" => Self::Tool,
            "function" => Self::Function,
            _ => Self::User,
        }
    }

    /// The role on the wire; `user` for one that we do not know.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
            Self::Function => "function",
            Self::User => "user",
        }
    }

    pub(super) const fn is_operator(self) -> bool {
        matches!(self, Self::System | Self::Developer)
    }

    pub(super) const fn is_tool(self) -> bool {
        matches!(self, Self::Tool | Self::Function)
    }
}

/// One text part of one message.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// Index of the message.
    pub message: usize,
    /// Who wrote it.
    pub role: Role,
    /// The text.
    pub text: &'a str,
}

/// Odd distributions of roles: instructions of the operator after others have spoken, floods of messages.
pub(super) fn flood(segments: &[Segment<'_>]) -> Option<Finding<'static>> {
    let others = segments.iter().position(|segment| !segment.role.is_operator());
    let late = others
        .and_then(|at| segments.iter().skip(at).position(|segment| segment.role.is_operator()).map(|late| at + late));
    let flooded = (segments.len() > MANY_MESSAGES).then_some(0);
    let segment = late.or(flooded)?;
    Some(Finding { id: "abnormal.roles", category: Category::RoleDistribution, segment, span: 0..0, score: 3 })
}

/// The parts of a message as one text.
pub(super) struct Joined<'a> {
    first: usize,
    parts: &'a [Segment<'a>],
    /// Where each part starts in the joined text.
    starts: Vec<usize>,
    text: Option<String>,
}

impl<'a> Joined<'a> {
    pub(super) fn new(first: usize, parts: &'a [Segment<'a>]) -> Self {
        let text = (parts.len() > 1).then(|| parts.iter().map(|part| part.text).collect::<Vec<_>>().join("\n"));
        let starts = parts.iter().scan(0, |next, part| {
            let start = *next;
            *next = start + part.text.len() + 1;
            Some(start)
        });
        Self { first, parts, starts: starts.collect(), text }
    }

    pub(super) fn text(&self) -> &str {
        match &self.text {
            Some(text) => text,
            None => self.parts.first().map_or("", |part| part.text),
        }
    }

    /// What a span covers of each part, with the part's index among all segments.
    pub(super) fn places(&self, span: &Span) -> impl Iterator<Item = (usize, Span)> {
        let from = self.starts.partition_point(|start| *start <= span.start).saturating_sub(1);
        let parts = self.parts.iter().zip(&self.starts).enumerate().skip(from);
        parts.take_while(|(_, (_, start))| **start < span.end).filter_map(|(offset, (part, &start))| {
            let end = start + part.text.len();
            let place = span.start.max(start) - start..span.end.min(end).saturating_sub(start);
            (place.start < place.end).then_some((self.first + offset, place))
        })
    }
}
