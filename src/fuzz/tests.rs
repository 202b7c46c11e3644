//! What was found, and what is telling, through the same functions on stable Rust.

mod seeds;

use std::path::{Path, PathBuf};
use std::{env, fs};

use super::*;

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target)
}

/// The files of a folder by name; none if it is not there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// With `UPDATE=1` in the environment they are written anew.
fn check_seeds() {
    for (name, _) in TARGETS {
        let folder = folder("corpus", name);
        for (number, seed) in seeds::of(name).iter().enumerate() {
            let file = folder.join(format!("seed-{number:02}"));
            if env::var_os("UPDATE").is_some() {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&file, seed).unwrap();
            }
            assert_eq!(fs::read(&file).ok().as_ref(), Some(seed), "{}", file.display());
        }
    }
}

#[test]
fn what_is_kept_does_no_harm() {
    check_seeds();
    for (name, target) in TARGETS {
        let corpus = files(&folder("corpus", name));
        assert!(!corpus.is_empty(), "there is a corpus of {name}");
        for file in corpus.into_iter().chain(files(&folder("crashes", name))) {
            let bytes = fs::read(&file).unwrap();
            let outcome = panic::catch_unwind(|| target(&bytes));
            assert!(outcome.is_ok(), "{}", file.display());
        }
    }
}
