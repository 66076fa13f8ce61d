//! The development data, and which sources are left out together.

use std::collections::HashSet;
use std::path::Path;

use kalguard_core::model::Place;
use kalguard_core::text::fold::fold;
use serde::Deserialize;

/// One line of the data.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    /// The text.
    pub text: String,
    /// 1 for an attack.
    pub label: u8,
    /// What kind of text it is.
    pub category: String,
    /// Where it comes from.
    #[serde(default)]
    pub source: String,
    /// Who says it.
    #[serde(default)]
    pub role: Option<String>,
    /// Where an instruction is planted, in code points.
    #[serde(default)]
    pub payload: Option<(usize, usize)>,
}

impl Line {
    /// Whose words they are.
    pub fn place(&self) -> Place {
        if self.role.as_deref() == Some("tool") { Place::Returned } else { Place::Said }
    }

    /// The planted part in bytes.
    pub fn payload_bytes(&self) -> Option<(usize, usize)> {
        let (start, end) = self.payload?;
        let byte = |n: usize| self.text.char_indices().nth(n).map_or(self.text.len(), |(at, _)| at);
        Some((byte(start), byte(end)))
    }

    /// The planted part, or everything.
    pub fn planted(&self) -> &str {
        self.payload_bytes().and_then(|(start, end)| self.text.get(start..end)).unwrap_or(&self.text)
    }

    /// Whether the label is the source's opinion only (see the data's own notes).
    pub fn is_unknown(&self) -> bool {
        self.category.starts_with("bipia_standalone_text")
            || self.category == "role_assignment_ambiguous"
            || self.label == 0
                && self.category == "role_prompt_zh"
                && ["DAN", "忘记你是", "忘記你是", "主人"].iter().any(|sign| self.text.contains(sign))
    }

    /// The category without its finest part.
    pub fn kind(&self) -> String {
        let kind = self.category.split('/').next().unwrap_or_default();
        let kind = if kind.starts_with("interface_") { "interface" } else { kind };
        kind.to_owned()
    }

    /// Which fold leaves this source out.
    pub fn fold(&self) -> usize {
        const GROUPS: [&[&str]; FOLDS - 1] = [
            &["own "],
            &["TrustAIRLab", "Giskard-AI/prompt", "NVIDIA/garak", "teknium1", "DAMO"],
            &["deepset", "compass", "swissky", "P3/T0", "microsoft/promptbench", "cyberark/FuzzyAI benign"],
            &["microsoft/BIPIA", "BIPIA train", "anthropics/", "danielmiessler", "mustvlad"],
            &["LAION", "OASST", "self-instruct", "yizhongw", "LianjiaTech", "PlexPt"],
            &["THUDM", "OpenBMB", "web-arena", "Enron", "sherdencooper"],
        ];
        let source = if self.source == "own" { "own " } else { &self.source };
        GROUPS.iter().position(|group| group.iter().any(|start| source.starts_with(start))).unwrap_or(FOLDS - 1)
    }
}

/// How many groups of sources are left out in turn. The last holds every source that no other names.
pub const FOLDS: usize = 7;

/// Everything in the folder.
pub fn read(folder: &Path) -> Vec<Line> {
    ["attacks", "benign", "harmful"]
        .iter()
        .flat_map(|name| {
            let path = folder.join(format!("{name}.jsonl"));
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let lines: Vec<Line> =
                text.lines().map(|line| serde_json::from_str(line).expect("a line of the data")).collect();
            // Asking for harm is not injection.
            lines.into_iter().map(|mut line| {
                if *name == "harmful" {
                    line.category = format!("harmful/{}", line.category);
                    line.label = 0;
                }
                line
            })
        })
        .collect()
}

/// Texts that are only measured on: written apart from the templates, and never trained on.
pub fn read_validation() -> Vec<Line> {
    read_own("validation")
}

/// Texts written one by one for training.
pub fn read_texts() -> Vec<Line> {
    let name = |line: Line| Line { source: format!("own texts, {}", line.category), ..line };
    read_own("texts").into_iter().map(name).collect()
}

/// Every file of lines in a folder beside this crate's sources, in the order of their names.
fn read_own(folder: &str) -> Vec<Line> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    paths
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).expect("a file that is there");
            text.lines().map(|line| serde_json::from_str(line).expect("a line of the data")).collect::<Vec<Line>>()
        })
        .collect()
}

/// Hashes of every six words in a row.
pub fn shingles(text: &str) -> HashSet<u64> {
    let folded = fold(text);
    let words: Vec<&str> =
        folded.text().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words
        .windows(6)
        .map(|six| {
            six.iter()
                .flat_map(|word| word.bytes().chain([0]))
                .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        })
        .collect()
}
