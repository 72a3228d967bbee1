//! Compiles the pages of `docs/errors` into a table, so that `wflo explain` needs no files beside the binary.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../docs/errors").canonicalize()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rerun-if-changed=build.rs");
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if let Some(number) = number_of(&path) {
            pages.push((number, path));
        }
    }
    pages.sort();
    let mut table = String::from("&[\n");
    for (number, path) in pages {
        writeln!(
            table,
            "Page {{ code: Code({number}), name: \"WFLO-{number:04}\", text: include_str!({path:?}) }},"
        )?;
    }
    table.push(']');
    std::fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("error_pages.rs"), table)?;
    Ok(())
}

/// 3301 of `WFLO-3301.md`; other files of the folder are no pages.
fn number_of(path: &Path) -> Option<u16> {
    path.file_name()?.to_str()?.strip_prefix("WFLO-")?.strip_suffix(".md")?.parse().ok()
}
