//! What a file may use, and whether anything uses it.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::{inline_depths, lex, paths, without_tests};
use crate::{Findings, Source};

/// Every layer with the layers it may import, besides itself. `lib.rs` and `main.rs` import all.
const LAYERS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("ids", &["limits"]),
    ("json", &["limits", "ids"]),
    ("document", &["limits", "ids", "json"]),
    ("workspace", &["limits", "ids", "json", "document"]),
    ("protocol", &["limits", "ids", "json", "document", "workspace"]),
    ("storage", &["limits", "ids", "json", "document", "workspace"]),
    ("hub", &["limits", "ids", "json", "document", "workspace", "protocol", "storage"]),
    ("manager", &["limits", "ids", "json", "document", "workspace", "protocol", "storage", "hub"]),
    ("server", &["limits", "ids", "json", "document", "workspace", "protocol", "storage", "hub"]),
    // Clients that measure: they know what goes over the wire, and not how a server comes to it.
    ("bench", &["limits", "ids", "json", "protocol"]),
    (
        "cli",
        &["limits", "ids", "json", "document", "workspace", "protocol", "storage", "hub", "server"],
    ),
    (
        "sim",
        &[
            "limits",
            "ids",
            "json",
            "document",
            "workspace",
            "protocol",
            "storage",
            "hub",
            "manager",
            "server",
        ],
    ),
    // Bugs for the simulation to find: in no build of the server, and open to all.
    (PLANTED, &[]),
    // What is fuzzed: in no build of the server, and nothing imports it.
    ("fuzz", &["limits", "ids", "json", "document", "workspace", "protocol", "storage"]),
];

/// Where bugs are that are planted.
const PLANTED: &str = "planted";

/// Layers that await nothing, read no clock, open no file and draw no random number.
const PURE: &[&str] = &["limits", "ids", "json", "document", "workspace", "protocol"];

/// Dependencies a pure layer may use. One that is new to `Cargo.toml` is refused until listed here.
const PURE_CRATES: &[&str] = &[
    "automerge",
    "base64",
    "bs58",
    "crc32fast",
    "flate2",
    "imara_diff",
    "imbl",
    "jsonschema",
    "minicbor",
    "proptest",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
    "uuid",
];

/// Modules of std that reach outside the process.
const IMPURE_STD: &[&str] = &["env", "fs", "net", "process", "thread", "time"];

/// A layer imports only what is left of it, by whatever path it says so.
pub(crate) fn layers(file: &Source) -> Findings {
    let Some(layer) = file.layer() else { return Vec::new() };
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        return vec![file.finding(1, format!("`{layer}` is not in the table of layers"))];
    };
    let tokens = lex(&file.text);
    let depths = inline_depths(&tokens);
    let module = file.module();
    let mut findings = Vec::new();
    for path in paths(&tokens) {
        let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
        let target = match path.segments.first().map(String::as_str) {
            Some("crate") if path.segments.len() > 1 => &path.segments[1],
            Some("crate") => {
                let before = path.token.checked_sub(1).map(|at| tokens[at].text.as_str());
                if before != Some("(") {
                    findings.push(file.finding(path.line, "name a layer, not the whole crate"));
                }
                continue;
            }
            Some("super") if supers >= module.len() + depths[path.token] => {
                match path.segments.get(supers) {
                    Some(target) => target,
                    None => continue,
                }
            }
            _ => continue,
        };
        let is_open = target == layer || target == PLANTED;
        if !is_open && !allowed.contains(&target.as_str()) {
            findings.push(file.finding(path.line, format!("`{layer}` may not use `{target}`")));
        }
    }
    findings
}

/// The pure layers use only listed crates, no part of std that reaches outside, and never wait.
pub(crate) fn purity(file: &Source, dependencies: &BTreeSet<String>) -> Findings {
    if !file.layer().is_some_and(|layer| PURE.contains(&layer)) {
        return Vec::new();
    }
    let tokens = lex(&file.text);
    let mut findings: Findings = tokens
        .iter()
        .filter(|token| matches!(token.text.as_str(), "async" | "await"))
        .map(|token| file.finding(token.line, format!("`{}` in a pure layer", token.text)))
        .collect();
    for path in paths(&tokens) {
        let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
        let foreign = match segments.as_slice() {
            ["std" | "core", module, ..] => IMPURE_STD.contains(module) || *module == "*",
            [name, ..] => dependencies.contains(*name) && !PURE_CRATES.contains(name),
            [] => false,
        };
        let used = segments.len() > 1
            || path.token.checked_sub(1).is_some_and(|at| tokens[at].text == "use");
        if foreign && used {
            let what = format!("`{}` in a pure layer", segments.join("::"));
            findings.push(file.finding(path.line, what));
        }
    }
    findings
}

/// The names under the dependency tables of a manifest, as code spells them.
pub(crate) fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines() {
        if let Some(table) = line.strip_prefix('[') {
            inside = table.trim_end().trim_end_matches(']').ends_with("dependencies");
        } else if inside && let Some((name, _)) = line.split_once('=') {
            names.insert(name.trim().split('.').next().unwrap().replace('-', "_"));
        }
    }
    names
}

/// `workspace` knows no encodings: only `protocol` and `storage` do.
pub(crate) fn encodings(file: &Source) -> Findings {
    if file.layer() != Some("workspace") {
        return Vec::new();
    }
    lex(&file.text)
        .iter()
        .filter(|token| matches!(token.text.as_str(), "Serialize" | "Deserialize" | "serde"))
        .map(|token| file.finding(token.line, format!("`{}` in `workspace`", token.text)))
        .collect()
}

/// A limit that nothing but tests and its own definition mentions limits nothing.
pub(crate) fn limits_without_use(files: &[Source]) -> Findings {
    let (mut limits, mut used) = (Vec::new(), BTreeSet::new());
    for file in files {
        let tokens = without_tests(&lex(&file.text));
        if file.path == "src/limits.rs" {
            let consts = tokens.windows(2).filter(|pair| pair[0].text == "const");
            limits.extend(consts.map(|pair| file.finding(pair[1].line, &pair[1].text)));
        } else {
            used.extend(tokens.into_iter().map(|token| token.text));
        }
    }
    limits.retain(|limit| !used.contains(limit.rsplit(' ').next().unwrap()));
    limits.into_iter().map(|limit| format!("{limit} is enforced nowhere")).collect()
}

/// A file that no `mod` leads to is never compiled.
pub(crate) fn unreachable_files(files: &[Source], roots: &[&str]) -> Findings {
    let by_path: BTreeMap<&str, &Source> =
        files.iter().map(|file| (file.path.as_str(), file)).collect();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut waiting: Vec<String> = roots.iter().map(ToString::to_string).collect();
    while let Some(path) = waiting.pop() {
        let Some(file) = by_path.get(path.as_str()) else { continue };
        let is_root = roots.contains(&path.as_str());
        let folder = if is_root { path.rsplit_once('/') } else { path.rsplit_once('.') };
        let folder = folder.unwrap().0;
        let tokens = lex(&file.text);
        for at in 0..tokens.len().saturating_sub(2) {
            if tokens[at].text == "mod" && tokens[at + 2].text == ";" {
                waiting.push(format!("{folder}/{}.rs", tokens[at + 1].text));
            }
        }
        reached.insert(path);
    }
    let lost = files.iter().filter(|file| !reached.contains(&file.path));
    lost.map(|file| file.finding(1, "no `mod` leads here")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lines, planted};

    #[test]
    fn layers_sees_every_way_to_write_a_path() {
        let file = planted(
            "src/document/sync.rs",
            "use crate::json::Json;\n\
         use crate::{ids::Seq, workspace::{Input, Effect}};\n\
         fn f() -> crate::hub::Hub { \"crate::hub\"; super::super::storage::g() }\n\
         mod tests { use super::super::super::protocol; use super::*; }\n\
         // crate::server\n\
         use crate as all;\n\
         pub(crate) fn g(x: &'static str) -> char { 'x' }\n\
         const C: u8 = r#\"\"crate::hub\"#; /* /* crate::cli */ */ use crate::*;",
        );
        assert_eq!(lines(&layers(&file)), [2, 2, 3, 3, 4, 6, 8]);
        assert_eq!(lines(&layers(&planted("src/attic.rs", ""))), [1]);
        assert_eq!(layers(&planted("src/main.rs", "use crate::cli;")), Findings::new());
        assert_eq!(layers(&planted("src/storage/sqlite.rs", "use super::StorageError;")), [""; 0]);
        assert_eq!(lines(&layers(&planted("src/storage.rs", "use super::hub::Hub;"))), [1]);
    }

    #[test]
    fn purity_sees_clocks_files_chance_and_waiting() {
        let names = dependencies(
            "[package]\nname = \"x\"\n[dependencies]\ntokio = \"1\"\ntokio-tungstenite = \"1\"\n\
         tracing.workspace = true\nrand = { version = \"1\" }\nserde = \"1\"\n[lints]\nlog = 1\n",
        );
        let expected = ["rand", "serde", "tokio", "tokio_tungstenite", "tracing"];
        assert!(names.iter().map(String::as_str).eq(expected), "{names:?}");

        let file = planted(
            "src/workspace.rs",
            "use std::{fmt, time::Instant};\n\
         async fn f() { g().await }\n\
         let rand = std::fs::read(rand);\n\
         tracing::info!();\n\
         use tokio_tungstenite as socket;\n\
         #[derive(serde::Serialize)] struct S;\n\
         use std::*;",
        );
        assert_eq!(lines(&purity(&file, &names)), [2, 2, 1, 3, 4, 5, 7]);
        assert_eq!(purity(&planted("src/hub.rs", "async fn f() {}"), &names), Findings::new());
        assert_eq!(lines(&encodings(&file)), [6, 6]);
        assert_eq!(
            encodings(&planted("src/protocol.rs", "use serde::Serialize;")),
            Findings::new()
        );
    }

    #[test]
    fn limits_without_use_sees_one_that_only_tests_mention() {
        let files = [
            planted("src/limits.rs", "pub const A_MAX: u8 = 1;\npub const B_MAX: u8 = A_MAX;"),
            planted("src/a.rs", "f(A_MAX); // B_MAX\n#[cfg(test)]\nmod tests { g(B_MAX) }"),
        ];
        assert_eq!(lines(&limits_without_use(&files)), [2]);
    }

    #[test]
    fn unreachable_files_sees_one_that_no_mod_leads_to() {
        let files = [
            planted("src/lib.rs", "pub mod a;\nmod inline { }"),
            planted("src/a.rs", "mod b; // mod c;"),
            planted("src/a/b.rs", ""),
            planted("src/a/c.rs", ""),
        ];
        assert_eq!(
            unreachable_files(&files, &["src/lib.rs"]),
            ["src/a/c.rs:1: no `mod` leads here"]
        );
    }
}
