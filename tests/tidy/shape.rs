//! How a file looks: its length, its words, what it points at.

use std::path::Path;

use crate::code::{Token, closing, lex};
use crate::{Findings, Source};

/// Words that the vocabulary of `ARCHITECTURE.md` has another word for.
const BANNED_WORDS: &[(&str, &str)] = &[
    ("Backend", "ChangeLog"),
    ("Cache", "History"),
    ("Collection", "Store"),
    ("Connection", "Session, or Socket"),
    ("Database", "ChangeLog"),
    ("Db", "ChangeLog"),
    ("Dirty", "saved mark"),
    ("Hook", "Trigger"),
    ("Mapper", "Projection"),
    ("Model", "Document"),
    ("Peer", "Session"),
    ("Revision", "Seq"),
    ("Room", "Workspace"),
    ("Transaction", "Commit"),
    ("Version", "Heads"),
];

const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;

/// Hosts that a file may point at, besides those reserved for examples. Anything else is
/// somebody's machine or mirror.
const HOSTS: &[&str] = &[
    "0.0.0.0",
    "10.0.0.1",
    "10.0.0.7",
    "127.0.0.1",
    "[::1]",
    "localhost",
    "automerge.org",
    "datatracker.ietf.org",
    "docs.rs",
    "example.com",
    "github.com",
    "json-schema.org",
    "keepachangelog.com",
    "opencollective.com",
    "paulmillr.com",
    "semver.org",
    "www.apache.org",
    "www.sqlite.org",
    "www.rfc-editor.org",
    "www.standardwebhooks.com",
];

/// What a newcomer reads first: every file says in its first line what it is.
pub(crate) fn opening(file: &Source) -> Findings {
    let starts = file.text.starts_with("//! ");
    if starts { Vec::new() } else { vec![file.finding(1, "does not start with `//! `")] }
}

pub(crate) fn lengths(file: &Source) -> Findings {
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(file.finding(lines, format!("more than {FILE_LINES_MAX} lines")));
    }
    for (number, line) in (1..).zip(file.text.lines()) {
        if line.chars().count() > LINE_COLUMNS_MAX {
            findings.push(file.finding(number, format!("more than {LINE_COLUMNS_MAX} columns")));
        }
    }
    if !file.is_rust() {
        return findings;
    }
    let tokens = lex(&file.text);
    for at in 0..tokens.len() {
        // `fn(` is the type of a function.
        if tokens[at].text != "fn" || tokens.get(at + 1).is_none_or(|token| token.text == "(") {
            continue;
        }
        let ends = tokens[at..].iter().position(|token| matches!(token.text.as_str(), "{" | ";"));
        let Some(body) = ends.map(|end| at + end).filter(|body| tokens[*body].text == "{") else {
            continue;
        };
        let Some(close) = tokens.get(closing(&tokens, body)) else { continue };
        let lines = close.line - tokens[at].line + 1;
        if lines > FUNCTION_LINES_MAX {
            let what = format!("`{}` has {lines} lines", tokens[at + 1].text);
            findings.push(file.finding(tokens[at].line, what));
        }
    }
    findings
}

/// Nothing is left half done, switched off, or out of sight.
pub(crate) fn leftovers(file: &Source) -> Findings {
    let mut findings = Vec::new();
    if file.path.ends_with("/mod.rs") {
        findings.push(file.finding(1, "`foo.rs` beside `foo/`, not `foo/mod.rs`"));
    }
    for (number, line) in (1..).zip(file.text.lines()) {
        let words = line.split(|c: char| !c.is_alphanumeric());
        for word in words.filter(|word| {
            [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")].contains(word)
        }) {
            findings.push(file.finding(number, format!("`{word}`: do it, or let it be")));
        }
        if file.is_rust() && line.contains(concat!("```", "ignore")) {
            findings.push(file.finding(number, "an example that nobody runs"));
        }
    }
    if !file.is_rust() {
        return findings;
    }
    let tokens = lex(&file.text);
    for at in 0..tokens.len() {
        let texts: Vec<&str> = tokens[at..].iter().take(3).map(|t| t.text.as_str()).collect();
        let what = match texts.as_slice() {
            ["dbg", "!", ..] => "`dbg!`",
            ["#", "[", "path"] => "a module lives where its name says",
            ["#", "[", _] if ignores(&tokens, at + 1) => "a test that nobody runs",
            _ => continue,
        };
        findings.push(file.finding(tokens[at].line, what));
    }
    findings
}

/// Whether the attribute that opens at `open` switches a test off.
pub(crate) fn ignores(tokens: &[Token], open: usize) -> bool {
    let end = closing(tokens, open).min(tokens.len());
    tokens[open..end].iter().any(|token| token.text == "ignore")
}

/// A type is called by the word of the vocabulary, and by no other.
pub(crate) fn vocabulary(file: &Source) -> Findings {
    let mut findings = Vec::new();
    for pair in lex(&file.text).windows(2) {
        let [keyword, name] = pair else { continue };
        if !matches!(keyword.text.as_str(), "struct" | "enum" | "trait" | "type" | "union") {
            continue;
        }
        for word in camel_words(&name.text) {
            if let Some((_, instead)) = BANNED_WORDS.iter().find(|(banned, _)| *banned == word) {
                let what = format!("`{}`: `{word}` is called {instead} here", name.text);
                findings.push(file.finding(name.line, what));
            }
        }
        // Where Automerge's own `Patch` is at home as well, a bare one could be either.
        if name.text == "Patch" && matches!(file.layer(), Some("json" | "document" | "workspace")) {
            findings.push(file.finding(name.line, "`Patch` alone is ambiguous: `JsonPatch`"));
        }
    }
    findings
}

pub(crate) fn camel_words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for c in name.chars() {
        match words.last_mut() {
            Some(word) if !c.is_uppercase() => word.push(c),
            _ => words.push(c.into()),
        }
    }
    words
}

/// A document has one title.
pub(crate) fn titles(file: &Source) -> Findings {
    let mut in_code = false;
    let mut count = 0;
    for line in file.text.lines() {
        in_code ^= line.starts_with("```");
        count += usize::from(!in_code && line.starts_with("# "));
    }
    if count == 1 { Vec::new() } else { vec![file.finding(1, format!("{count} titles"))] }
}

/// No file points at a host that is not everybody's.
pub(crate) fn hosts(file: &Source) -> Findings {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        for (_, rest) in line.match_indices("://").map(|(at, sign)| line.split_at(at + sign.len()))
        {
            let host = rest.split(|c: char| !(c.is_ascii_alphanumeric() || ".-[]".contains(c)));
            let host =
                if rest.starts_with("[::1]") { "[::1]" } else { host.into_iter().next().unwrap() };
            let reserved = [".example", ".invalid", ".test"].iter().any(|end| host.ends_with(end));
            if host.contains('.') && !reserved && !HOSTS.contains(&host) {
                findings.push(file.finding(number, format!("points at `{host}`")));
            }
        }
    }
    findings
}

/// No file names a folder of the machine it was written on, or one beside the repository.
///
/// Names that start with `../` are also what attackers send: in Rust only those are findings that
/// lead out of the repository, elsewhere all that lead nowhere.
pub(crate) fn machine_paths(file: &Source, exists: impl Fn(&Path) -> bool) -> Findings {
    const HOMES: &[&str] = &["Users", "home", "mnt", "root", "work"];
    let is_path = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let folder = Path::new(&file.path).parent().unwrap();
    let depth = folder.components().count();
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        for word in line.split(|c| !is_path(c)) {
            let parts: Vec<&str> = word.split('/').filter(|part| !part.is_empty()).collect();
            let absolute = word.starts_with('/') && parts.len() > 1 && HOMES.contains(&parts[0]);
            let climbs = parts.iter().take_while(|part| **part == "..").count();
            let strays = if file.is_rust() {
                climbs > depth
            } else {
                climbs > 0 && word.len() > 3 && !exists(&folder.join(word))
            };
            if strays || absolute {
                findings.push(file.finding(number, format!("`{word}` is not in the repository")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lines, planted};

    #[test]
    fn lengths_sees_long_files_functions_and_lines() {
        let long = format!("fn short(a: fn(u8)) {{}}\nfn g() {{\n{}}}\n", "x();\n".repeat(69));
        assert_eq!(lines(&lengths(&planted("src/a.rs", &long))), [2]);
        let fits = format!("fn g();\nfn g() {{\n{}}}\n", "x();\n".repeat(68));
        assert_eq!(lengths(&planted("src/a.rs", &fits)), Findings::new());
        assert_eq!(lines(&lengths(&planted("a.mjs", &"x\n".repeat(701)))), [701]);
        assert_eq!(lines(&lengths(&planted("a.rs", &format!("\n{}", "ä".repeat(101))))), [2]);
        assert_eq!(lengths(&planted("a.rs", &"ä".repeat(100))), Findings::new());
    }

    #[test]
    fn leftovers_sees_marks_and_what_nobody_runs() {
        let mark = concat!("FIX", "ME");
        let example = concat!("```", "ignore,x");
        let text = format!(
            "// {mark}: later\ndbg!(x);\n#[ignore]\n#[cfg_attr(miri, ignore)]\n//! {example}\n\
             #[path = \"x\"] mod x;"
        );
        assert_eq!(lines(&leftovers(&planted("src/a.rs", &text))), [1, 5, 2, 3, 4, 6]);
        assert_eq!(lines(&leftovers(&planted("src/a/mod.rs", "let ignore = xTODOx;"))), [1]);
        assert_eq!(lines(&opening(&planted("src/a.rs", "// no\n//! yes\n"))), [1]);
    }

    #[test]
    fn vocabulary_sees_words_of_a_type_name() {
        let text =
            "struct StoreVersion; fn version() {}\nenum Room {}\ntype Patch = u8; struct Roomy;";
        assert_eq!(lines(&vocabulary(&planted("src/json.rs", text))), [1, 2, 3]);
        assert_eq!(lines(&vocabulary(&planted("src/protocol.rs", text))), [1, 2]);
    }

    #[test]
    fn titles_sees_none_and_two() {
        let text = "# One\n```\n# not a title\n```\n## Part\n";
        assert_eq!(titles(&planted("README.md", text)), Findings::new());
        assert_eq!(titles(&planted("README.md", &format!("{text}# Two\n"))).len(), 1);
        assert_eq!(titles(&planted("README.md", "## Part\n")).len(), 1);
    }

    #[test]
    fn hosts_and_machine_paths_see_what_is_not_everybodys() {
        let text = format!(
            "http://127.0.0.1:1 https://docs.rs/x\nsee https:{}\n",
            "//mirror.net/x http://a.example"
        );
        assert_eq!(lines(&hosts(&planted("a.md", &text))), [2]);
        let text = format!("/{}/x\n/home/ {up}/a.md\n{up}/b.md {up}", "home", up = "..");
        let exists = |path: &Path| path == Path::new("docs/../a.md");
        assert_eq!(lines(&machine_paths(&planted("docs/x.md", &text), exists)), [1, 3]);
        assert_eq!(lines(&machine_paths(&planted("src/x.rs", &text), exists)), [1]);
        let text = format!("{up}/{up}/x", up = "..");
        assert_eq!(lines(&machine_paths(&planted("src/x.rs", &text), exists)), [1]);
    }
}
