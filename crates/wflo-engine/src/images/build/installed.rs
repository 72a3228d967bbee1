//! What was installed, read from what was sealed: nothing of it is started to say so.

use std::io::Read as _;
use std::path::Path;

use wflo_sandbox::workspace::{Kind, Manifest, RelPath, open_in_tree};

/// So many are named.
const MOST: usize = 10_000;
/// The names stand at the beginning.
const HEAD: u64 = 16 << 10;

/// Names and versions, as the packages have them: their word, for people.
pub(super) fn packages(tree: &Path, manifest: &Manifest) -> Vec<String> {
    let files = manifest.entries.iter().filter(|(_, entry)| matches!(entry.kind, Kind::File { .. }));
    let abouts = files.map(|(path, _)| path).filter(|path| is_about(path));
    let mut found: Vec<String> = abouts.take(MOST).filter_map(|path| named(tree, path)).collect();
    found.sort_by_key(|package| package.to_lowercase());
    found.dedup();
    found
}

/// `…/site-packages/NAME.dist-info/METADATA`.
fn is_about(path: &RelPath) -> bool {
    let parts: Vec<&[u8]> = path.components().collect();
    matches!(parts.as_slice(), [.., folder, about, file]
        if *folder == b"site-packages" && about.ends_with(b".dist-info") && *file == b"METADATA")
}

fn named(tree: &Path, path: &RelPath) -> Option<String> {
    let mut head = Vec::new();
    open_in_tree(tree, path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head);
    let value = |name: &str| {
        let lines = head.lines().take_while(|line| !line.is_empty());
        let fields = lines.filter_map(|line| line.split_once(':'));
        let found = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let plain = |text: &str| text.chars().filter(char::is_ascii_graphic).take(100).collect::<String>();
        found.map(plain).find(|text| !text.is_empty())
    };
    Some(format!("{}=={}", value("Name")?, value("Version")?))
}
