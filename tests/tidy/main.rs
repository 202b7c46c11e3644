//! The house rules, as tests: layers, purity, lengths, names.
//!
//! Each rule is a function from a file (or all of them) to findings. It runs over the repository
//! here, and over a planted offence beside its definition: a rule that finds nothing there is
//! itself broken. Nothing but std is used, so that `.ci/run` can run this before anything is built.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets what it does not expect stops there"
)]

mod code;
mod imports;
mod shape;

use std::fs;
use std::path::{Path, PathBuf};

use imports::{dependencies, encodings, layers, limits_without_use, purity, unreachable_files};
use shape::{hosts, leftovers, lengths, machine_paths, opening, titles, vocabulary};

/// A text file of the repository, by its path from the root.
struct Source {
    path: String,
    text: String,
}

/// One offence, as `path:line: what is wrong`.
type Findings = Vec<String>;

impl Source {
    fn finding(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|end| end == "rs")
    }

    fn is_code(&self) -> bool {
        let script = Path::new(&self.path).extension().is_some_and(|end| end == "mjs");
        self.is_rust() || script || [".ci/run", ".ci/fuzz"].contains(&&*self.path)
    }

    /// The path of the module in its crate: `src/hub/turn.rs` is `["hub", "turn"]`.
    fn module(&self) -> Vec<&str> {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let inner = inner.strip_suffix(".rs").unwrap_or(inner);
        if inner == "lib" || inner == "main" { Vec::new() } else { inner.split('/').collect() }
    }

    fn layer(&self) -> Option<&str> {
        self.path.starts_with("src/").then(|| self.module().first().copied()).flatten()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All text files below the root, without what git ignores and the inputs of fuzz targets.
fn repository() -> Vec<Source> {
    const IGNORED: &[&str] = &[".git", "node_modules", "statehouse-data", "target"];
    let inputs = ["fuzz/corpus", "fuzz/crashes"].map(|folder| root().join(folder));
    let (root, mut found, mut folders) = (root(), Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if IGNORED.contains(&name) || inputs.contains(&path) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn rust_files() -> Vec<Source> {
    repository().into_iter().filter(Source::is_rust).collect()
}

fn library_files() -> Vec<Source> {
    let files: Vec<_> =
        rust_files().into_iter().filter(|file| file.path.starts_with("src/")).collect();
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "this is not the repository");
    files
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn planted(path: &str, text: &str) -> Source {
    Source { path: path.into(), text: text.into() }
}

/// The lines of the findings.
fn lines(findings: &Findings) -> Vec<usize> {
    findings.iter().map(|finding| finding.split(':').nth(1).unwrap().parse().unwrap()).collect()
}

/// Fails with every finding on a line of its own.
fn report(findings: &Findings) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn a_layer_imports_only_what_is_left_of_it() {
    report(&library_files().iter().flat_map(layers).collect());
}

#[test]
fn the_pure_layers_are_pure() {
    let dependencies = dependencies(&read("Cargo.toml"));
    assert!(dependencies.contains("tokio"), "the manifest was not understood");
    report(&library_files().iter().flat_map(|file| purity(file, &dependencies)).collect());
}

#[test]
fn the_workspace_knows_no_encoding() {
    report(&library_files().iter().flat_map(encodings).collect());
}

#[test]
fn every_file_says_what_it_is() {
    report(&rust_files().iter().flat_map(opening).collect());
}

#[test]
fn files_functions_and_lines_are_short() {
    let files = repository();
    let code = files.iter().filter(|file| file.is_code());
    report(&code.flat_map(lengths).collect());
}

#[test]
fn nothing_is_left_half_done() {
    let files = repository();
    let files = files.iter().filter(|file| !file.path.ends_with("lock"));
    report(&files.flat_map(leftovers).collect());
}

#[test]
fn types_are_called_by_the_vocabulary() {
    report(&library_files().iter().flat_map(vocabulary).collect());
}

#[test]
fn a_document_has_one_title() {
    for name in ["README.md", "ARCHITECTURE.md", "PROTOCOL.md", "CHANGELOG.md"] {
        report(&titles(&planted(name, &read(name))));
    }
}

#[test]
fn every_limit_is_enforced_somewhere() {
    report(&limits_without_use(&library_files()));
}

#[test]
fn every_file_is_compiled() {
    report(&unreachable_files(&library_files(), &["src/lib.rs", "src/main.rs"]));
    let it: Vec<_> =
        rust_files().into_iter().filter(|file| file.path.starts_with("tests/it/")).collect();
    report(&unreachable_files(&it, &["tests/it/main.rs"]));
    let sockets = |file: &Source| file.path.starts_with("benches/sockets/");
    let sockets: Vec<_> = rust_files().into_iter().filter(sockets).collect();
    report(&unreachable_files(&sockets, &["benches/sockets/main.rs"]));
}

#[test]
fn no_file_names_a_machine() {
    let root = root().canonicalize().unwrap();
    let inside =
        |path: &Path| root.join(path).canonicalize().is_ok_and(|found| found.starts_with(&root));
    let findings = repository()
        .iter()
        .flat_map(|file| [hosts(file), machine_paths(file, inside)].concat())
        .collect();
    report(&findings);
}

#[test]
fn the_npm_lockfiles_name_no_mirror() {
    for folder in ["tests", "benches"] {
        let lock = read(&format!("{folder}/node/package-lock.json"));
        assert!(lock.contains("\"integrity\""), "packages are pinned by their hash");
        let resolved = lock.contains("\"resolved\"");
        assert!(!resolved, "packages come from whichever registry npm is set to");
    }
}
