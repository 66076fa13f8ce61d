//! What the operator chose.

use crate::patterns::PatternsFile;

/// What the operator chose.
#[derive(Debug, Clone)]
pub struct ScannerConfig {
    /// A score from which on a conversation is blocked.
    pub block_threshold: u8,
    /// A score from which on injected spans are removed.
    pub sanitize_threshold: u8,
    /// Factor for `injection.*`; 1.0 changes nothing.
    pub injection_weight: f64,
    /// Factor for `harmful.*`.
    pub harmful_weight: f64,
    /// Factor for `pii.*`.
    pub pii_weight: f64,
    /// Factor for `abnormality.*`.
    pub abnormality_weight: f64,
    /// Look for injection.
    pub check_injection: bool,
    /// Look for harmful content and blocked phrases.
    pub check_content: bool,
    /// Look for personal data and secrets.
    pub check_pii: bool,
    /// Look for everything in system and developer messages too.
    pub check_system: bool,
    /// Phrases that block, in any case and spelling. They match as whole words.
    pub blocked_phrases: Vec<String>,
    /// Find and report everything, and let everything pass as it is.
    pub monitor: bool,
    /// Patterns of the operator's, what of all that is found has no effect, and what is not looked at.
    pub patterns: PatternsFile,
}

impl Default for ScannerConfig {
    fn default() -> Self {
        Self {
            block_threshold: 70,
            sanitize_threshold: 50,
            injection_weight: 1.0,
            harmful_weight: 1.0,
            pii_weight: 1.0,
            abnormality_weight: 1.0,
            check_injection: true,
            check_content: true,
            check_pii: true,
            check_system: false,
            blocked_phrases: Vec::new(),
            monitor: false,
            patterns: PatternsFile::default(),
        }
    }
}
