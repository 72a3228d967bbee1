//! The image for containers that are to have this host's own toolchain: a root with nothing in it.
//!
//! It holds folders, the links that the host's root has, and a made-up `/etc`; the toolchain is shown over
//! it, read-only. It is named by what is in it, so it is imported once, and again when that changes.

use super::super::error::Error;
use super::Image;
use super::tar::Archive;
use crate::native::spec::{Bind, HOME};
use crate::native::template::{ETC_FILES, ETC_FOLDERS, KEY_FOLDERS, TOOLCHAIN, etc_files};
use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::path::{Path, PathBuf};

/// What it is called, before its tag.
const REPOSITORY: &str = "wflo-host-root";

/// Imports it, if it is not there.
pub(super) async fn image(docker: &Docker) -> Result<Image, Error> {
    let root = root();
    let hash = blake3::hash(&root).to_hex();
    let tag = hash.get(..16).unwrap_or_default();
    let name = format!("{REPOSITORY}:{tag}");
    let there = match super::inspect(docker, &name).await? {
        Some(there) => there,
        None => {
            let options =
                CreateImageOptionsBuilder::default().from_src("-").repo(REPOSITORY).tag(tag).build();
            let body = bollard::body_full(Bytes::from(root));
            let mut steps = docker.create_image(Some(options), Some(body), None);
            while let Some(step) = steps.next().await {
                step.map_err(|error| super::super::api::failed("import the root of", &error))?;
            }
            let reason = "although it was imported".to_owned();
            super::inspect(docker, &name).await?.ok_or(Error::NoImage { image: name, reason })?
        }
    };
    Ok(Image { name: String::new(), digest: None, env: Vec::new(), ..there })
}

/// What is shown over it.
pub(crate) fn toolchain() -> Vec<Bind> {
    let folder = |path: PathBuf| {
        let real = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        real.then(|| Bind::same(path))
    };
    let roots = TOOLCHAIN.iter().filter_map(|name| folder(Path::new("/").join(name)));
    let etc = ETC_FOLDERS.iter().filter_map(|name| folder(Path::new("/etc").join(name)));
    roots.chain(etc).collect()
}

/// Folders in what is shown that hold keys: to be covered by an empty one.
pub(crate) fn covered() -> Vec<PathBuf> {
    KEY_FOLDERS.iter().map(|name| Path::new("/etc").join(name)).filter(|path| path.is_dir()).collect()
}

fn root() -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in ["dev/", "etc/", "home/", "proc/", "run/", "sys/", "var/", ".wflo/", ".wflo/lib/"] {
        archive.folder(folder, 0o755);
    }
    archive.folder("tmp/", 0o1777);
    archive.folder(&format!("{}/", HOME.trim_start_matches('/')), 0o755);
    archive.link("var/tmp", "/tmp");
    for name in TOOLCHAIN {
        let path = Path::new("/").join(name);
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        if found.is_symlink() {
            let target = std::fs::read_link(&path).unwrap_or_default();
            archive.link(name, &target.to_string_lossy());
        } else if found.is_dir() && !name.contains('/') {
            archive.folder(&format!("{name}/"), 0o755);
        }
    }
    for (name, text) in etc_files(1_000, 1_000) {
        // Docker writes these two itself.
        if !matches!(name, "hosts" | "hostname") {
            archive.file(&format!("etc/{name}"), text.as_bytes());
        }
    }
    archive.link("etc/mtab", "/proc/self/mounts");
    for name in ETC_FILES {
        let path = Path::new("/etc").join(name);
        let small = std::fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= 1 << 20);
        if small && let Ok(content) = std::fs::read(&path) {
            archive.file(&format!("etc/{name}"), &content);
        }
    }
    archive.finish()
}
