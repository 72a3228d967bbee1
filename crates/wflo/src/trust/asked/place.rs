//! Where a path or an address leads: to the project, to this machine, or further.

use std::path::{Path, PathBuf};

use wflo_sandbox::workspace::{Hidden, HideRules, RelPath};

/// An address whose host stands first: what is before it may be secret, or look like a host.
pub(super) fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// Whether a path leads out of the project, through a link too.
pub(super) fn is_outside(path: &str, root: &Path) -> bool {
    !resolved(&root.join(path)).is_some_and(|real| real.starts_with(root))
}

/// Whether it is a folder of the project in which what is hidden stays hidden, and no hidden one.
pub(super) fn is_plain_folder(path: &str, root: &Path) -> bool {
    let Some(real) = resolved(&root.join(path)).filter(|real| real.is_dir()) else { return false };
    let Ok(inside) = real.strip_prefix(root) else { return false };
    let inside = RelPath::from_bytes(inside.as_os_str().as_encoded_bytes());
    match (inside, Hidden::new(root, &HideRules::default())) {
        (Ok(inside), Ok(hidden)) => hidden.by_path(&inside).is_none(),
        _ => false,
    }
}

/// Where a path leads, links followed as far as it exists; `None` for one that goes up from there.
fn resolved(path: &Path) -> Option<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Some(real);
    }
    // A link to nowhere yet may lead anywhere later.
    if path.is_symlink() {
        return None;
    }
    let (above, name) = (path.parent()?, path.file_name()?);
    Some(resolved(above)?.join(name))
}

/// Whether an address is on this machine's own loopback.
pub(super) fn is_this_machine(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let loopback = host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    loopback || host.eq_ignore_ascii_case("localhost")
}
