//! What the fuzz targets share: conversations written as bytes, and scanners compiled once.
//!
//! An input is text that a person can read and edit, so that a finding is its own explanation.

use std::sync::LazyLock;

use kalguard_core::patterns::PatternsFile;
use kalguard_core::scanner::{Role, Scanner, ScannerConfig, Segment};

/// Between two messages.
pub const NEXT_MESSAGE: char = '\u{1e}';
/// Between two parts of a message.
pub const NEXT_PART: char = '\u{1f}';

/// The scanner as it ships.
pub static SHIPPED: LazyLock<Scanner> = LazyLock::new(|| compile(&ScannerConfig::default()));

/// As it ships, but it only watches.
pub static WATCHING: LazyLock<Scanner> =
    LazyLock::new(|| compile(&ScannerConfig { monitor: true, ..ScannerConfig::default() }));

/// Everything switched on, with phrases that are blocked, allowed and monitored.
pub static STRICT: LazyLock<Scanner> = LazyLock::new(|| {
    let patterns = PatternsFile::read(
        br#"{"modes": {"harmful": "monitor", "injection.delimiter": "monitor"}, "allow": ["previous rules", "hi"],
             "patterns": [{"id": "own.number", "category": "pii.secret", "score": 20, "regex": "emp-[0-9]{6}",
                           "matches": ["emp-123456"]}]}"#,
    );
    compile(&ScannerConfig {
        check_system: true,
        blocked_phrases: vec!["purple rain".to_owned()],
        patterns: patterns.expect("the patterns are as they should be"),
        ..ScannerConfig::default()
    })
});

fn compile(config: &ScannerConfig) -> Scanner {
    Scanner::new(config).expect("the scanner compiles").remembering(b"sixteen letters!")
}

/// A conversation: messages with [`NEXT_MESSAGE`] between them, their parts with [`NEXT_PART`]. The first letter of a
/// message is its role: `s`ystem, `d`eveloper, `a`ssistant, `t`ool, `f`unction, else the user.
#[must_use]
pub fn conversation(text: &str) -> Vec<Segment<'_>> {
    let mut segments = Vec::new();
    for (message, written) in text.split(NEXT_MESSAGE).enumerate() {
        let (role, said) = match written.chars().next() {
            Some('s') => (Role::System, 1),
            Some('d') => (Role::Developer, 1),
            Some('a') => (Role::Assistant, 1),
            Some('t') => (Role::Tool, 1),
            Some('f') => (Role::Function, 1),
            Some('u') => (Role::User, 1),
            _ => (Role::User, 0),
        };
        segments.extend(written[said..].split(NEXT_PART).map(|text| Segment { message, role, text }));
    }
    segments
}
