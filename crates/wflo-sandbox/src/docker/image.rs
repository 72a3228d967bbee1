//! Which image a container is made of: found, fetched and pinned, once for a run.
//!
//! A name is resolved when a run is submitted; from then on the run means the image's id, whatever the
//! name comes to stand for. Without an image the container has this host's own toolchain, read-only,
//! over a root that is made here and holds nothing else ([`host`]).

pub(crate) mod host;
mod tar;

use super::error::Error;
use super::scan::Scanned;
use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long fetching one may take.
const PULL: Duration = Duration::from_secs(1_800);

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// Only what is there is used.
    Never,
    /// What is not there is fetched.
    #[default]
    Missing,
    /// Asked for every time a run is submitted.
    Always,
}

/// What containers are asked to be, as the settings say it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Options {
    /// The image; without one the host's own toolchain is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The runtime by the name that the daemon has for it, such as `runsc`; the daemon's own choice by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// When the image is fetched.
    #[serde(default)]
    pub pull: Pull,
    /// Refuse an image that was not scanned, or that has grave vulnerabilities.
    #[serde(default)]
    pub require_scan: bool,
}

/// An image that is there, by its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// As it was named; empty for the host's own toolchain.
    pub name: String,
    /// `sha256:…`: what is run.
    pub id: String,
    /// The name with the registry's digest, where it came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its own environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, String)>,
    /// What a scanner found in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<Scanned>,
}

/// Finds the image, fetching it where that is asked for.
pub(crate) async fn resolve(docker: &Docker, options: &Options) -> Result<Image, Error> {
    let Some(name) = &options.image else { return host::image(docker).await };
    let found = match options.pull {
        Pull::Always => None,
        Pull::Never | Pull::Missing => inspect(docker, name).await?,
    };
    let image = match found {
        Some(found) => found,
        None if options.pull == Pull::Never => {
            let reason = "and pull = \"never\" keeps it from being fetched".to_owned();
            return Err(Error::NoImage { image: name.clone(), reason });
        }
        None => {
            pull(docker, name).await?;
            let reason = "although it was fetched".to_owned();
            inspect(docker, name).await?.ok_or(Error::NoImage { image: name.clone(), reason })?
        }
    };
    pinned(image)
}

/// The image of a run, which is there unless somebody removed it: then it is fetched by its digest.
pub(crate) async fn again(docker: &Docker, image: &Image, pull_policy: Pull) -> Result<(), Error> {
    if image.name.is_empty() {
        return host::image(docker).await.map(drop);
    }
    if inspect(docker, &image.id).await?.is_some() {
        return Ok(());
    }
    let name = || image.name.clone();
    match &image.digest {
        Some(digest) if pull_policy != Pull::Never => pull(docker, digest).await?,
        _ => {
            let reason = format!("{}, which this run was submitted with, was removed", image.id);
            return Err(Error::NoImage { image: name(), reason });
        }
    }
    match inspect(docker, &image.id).await? {
        Some(_) => Ok(()),
        None => Err(Error::OtherDigest { image: name(), found: "another one".to_owned() }),
    }
}

/// A name with a digest means that and nothing else.
fn pinned(image: Image) -> Result<Image, Error> {
    let Some((_, digest)) = image.name.split_once('@') else { return Ok(image) };
    let same =
        image.digest.as_deref().and_then(|known| known.split_once('@')).is_some_and(|(_, d)| d == digest)
            || image.id == digest;
    if same { Ok(image) } else { Err(Error::OtherDigest { image: image.name.clone(), found: image.id }) }
}

async fn inspect(docker: &Docker, name: &str) -> Result<Option<Image>, Error> {
    let found = match docker.inspect_image(name).await {
        Ok(found) => found,
        Err(error) => {
            return if super::api::status(&error) == Some(404) {
                Ok(None)
            } else {
                Err(super::api::failed("inspect the image of", &error))
            };
        }
    };
    let refused = |reason: &str| Error::NoImage { image: name.to_owned(), reason: reason.to_owned() };
    let id = found.id.ok_or_else(|| refused("the daemon gives it no id"))?;
    if found.os.as_deref().is_some_and(|os| os != "linux") {
        return Err(refused("it is no Linux image"));
    }
    let env = found.config.and_then(|config| config.env).unwrap_or_default();
    let env = env
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect();
    let repository = name.split(['@']).next().unwrap_or(name);
    let repository = match repository.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => repository,
    };
    let digests = found.repo_digests.unwrap_or_default();
    let named = |digest: &&String| digest.split('@').next().is_some_and(|of| of == repository);
    let digest = digests.iter().find(named).or_else(|| digests.first()).cloned();
    Ok(Some(Image { name: name.to_owned(), id, digest, env, scan: None }))
}

async fn pull(docker: &Docker, name: &str) -> Result<(), Error> {
    let failed = |reason: String| Error::Pull { image: name.to_owned(), reason };
    // Without a tag or digest the API means all tags.
    let whole = if name.contains('@') || name.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        name.to_owned()
    } else {
        format!("{name}:latest")
    };
    let options = CreateImageOptionsBuilder::default().from_image(&whole).build();
    let mut progress = docker.create_image(Some(options), None, None);
    let all = async {
        while let Some(step) = progress.next().await {
            match step {
                Ok(_) => {}
                Err(error) if super::api::status(&error) == Some(404) => {
                    return Err(Error::NoImage { image: name.to_owned(), reason: super::api::words(&error) });
                }
                Err(error) => return Err(failed(super::api::words(&error))),
            }
        }
        Ok(())
    };
    match tokio::time::timeout(PULL, all).await {
        Ok(done) => done,
        Err(_) => Err(failed(format!("it took longer than {} minutes", PULL.as_secs() / 60))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, digest: Option<&str>) -> Image {
        let digest = digest.map(str::to_owned);
        Image { name: name.to_owned(), id: "sha256:aa".to_owned(), digest, env: Vec::new(), scan: None }
    }

    #[test]
    fn a_digest_means_that_image_and_no_other() {
        assert!(pinned(image("python:3.12", None)).is_ok());
        assert!(pinned(image("python@sha256:bb", Some("python@sha256:bb"))).is_ok());
        assert!(
            pinned(image("python@sha256:aa", None)).is_ok(),
            "an image that was built here has only an id"
        );
        let other = pinned(image("python@sha256:cc", Some("python@sha256:bb")));
        assert!(matches!(other, Err(Error::OtherDigest { .. })));
    }
}
