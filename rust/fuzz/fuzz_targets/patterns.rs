//! Patterns files: whatever is in one, it is refused or becomes a scanner that answers.
#![no_main]

use kalguard_core::patterns::PatternsFile;
use kalguard_core::scanner::{Scanner, ScannerConfig};
use kalguard_fuzz::conversation;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(file) = PatternsFile::read(bytes) else { return Corpus::Keep };
    let text = String::from_utf8_lossy(bytes);
    let examples: Vec<String> = file.patterns.iter().flat_map(|pattern| pattern.matches.clone()).collect();
    let allowed = file.allowed.join(" ");
    let config = ScannerConfig { patterns: file, ..ScannerConfig::default() };
    if let Ok(scanner) = Scanner::new(&config) {
        for said in examples.iter().map(String::as_str).chain([&*allowed, &*text]) {
            let scan = scanner.scan(&conversation(said));
            assert!(scan.assessment.score <= 100);
        }
    }
    Corpus::Keep
});
