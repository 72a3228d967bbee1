//! What steps reach from their sandboxes, and what these are made of.

use std::path::Path;

use super::cloud::of_cloud;
use super::place::{is_plain_folder, without_user};
use super::{Asked, text, text_of, texts};
use crate::document::{Table, Value};

/// What somebody has to agree to who runs steps with a backend.
pub(super) fn reach(backend: &str) -> Option<&'static str> {
    match backend {
        "none" => Some("steps are not isolated from this machine"),
        "e2b" => Some("steps, and the project's files with them, go to a cloud that is paid for"),
        _ => None,
    }
}

pub(super) fn of_sandbox(sandbox: &Table, root: &Path, found: &mut Vec<Asked>) {
    if let Some((name, does)) = text(sandbox, "backend").and_then(|name| Some((name, reach(name)?))) {
        found.push(Asked::new("sandbox.backend", name, does));
    }
    if let Some(Value::Table(cloud)) = sandbox.get("e2b").map(|node| &node.value) {
        of_cloud(cloud, root, found);
    }
    if let Some(image) = text(sandbox, "image") {
        found.push(Asked::new(
            "sandbox.image",
            image,
            "it is fetched from its registry, and steps run in it",
        ));
    }
    if let Some(runtime) = text(sandbox, "runtime").filter(|name| *name != "runsc") {
        found.push(Asked::new("sandbox.runtime", runtime, "it is what isolates steps from this machine"));
    }
    for host in texts(sandbox, "allow_hosts") {
        found.push(Asked::new("sandbox.allow_hosts", host, "steps reach it"));
    }
    for address in texts(sandbox, "allow_addresses") {
        found.push(Asked::new(
            "sandbox.allow_addresses",
            address,
            "steps reach it, though it is no public one",
        ));
    }
    of_packages(sandbox, found);
    if let Some(file) = text(sandbox, "ca_file") {
        found.push(Asked::new("sandbox.ca_file", file, "hosts that it vouches for are believed"));
    }
    for name in texts(sandbox, "env") {
        found.push(Asked::new("sandbox.env", name, "steps see the variable's value"));
    }
    for mount in texts(sandbox, "ro") {
        let source = mount.split(':').next().unwrap_or_default();
        if !is_plain_folder(source, root) {
            found.push(Asked::new("sandbox.ro", mount, "steps read it"));
        }
    }
    for mount in texts(sandbox, "rw") {
        found.push(Asked::new("sandbox.rw", mount, "steps write there, not on a copy"));
    }
}

/// Packages are installed in a sandbox; still it is this machine that fetches them.
fn of_packages(sandbox: &Table, found: &mut Vec<Asked>) {
    let does = "packages are fetched for steps, and kept";
    for requirement in text(sandbox, "requirements").into_iter().chain(texts(sandbox, "requirements")) {
        found.push(Asked::new("sandbox.requirements", requirement, does));
    }
    for package in texts(sandbox, "packages") {
        let does = "this machine's distribution is asked for it, and steps have its programs";
        found.push(Asked::new("sandbox.packages", package, does));
    }
    if let Some(url) = text(sandbox, "index_url") {
        found.push(Asked::new("sandbox.index_url", without_user(url), "packages are fetched from there"));
    }
    if let Some(limit) = sandbox.get("build_disk_limit").and_then(|node| match &node.value {
        Value::Number(digits) => Some(digits.as_str()),
        _ => text_of(node),
    }) {
        let does = "so much of this machine's memory may be taken while packages are installed";
        found.push(Asked::new("sandbox.build_disk_limit", limit, does));
    }
    for (key, does) in [
        ("extra_index_urls", "packages are fetched from there, too"),
        ("index_hosts", "files of packages are fetched from there"),
    ] {
        for place in texts(sandbox, key) {
            found.push(Asked::new(format!("sandbox.{key}"), without_user(place), does));
        }
    }
    if matches!(sandbox.get("source_builds").map(|node| &node.value), Some(Value::Bool(true))) {
        let does = "packages run their own code while they are built, in a sandbox";
        found.push(Asked::new("sandbox.source_builds", "true", does));
    }
}
