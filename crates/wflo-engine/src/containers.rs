//! What a run's containers are made of: decided when it is submitted, kept with it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wflo_sandbox::docker;

/// Where the SDK is in a container of an image.
pub(crate) const SDK_IN_IMAGE: &str = "/.wflo/sdk";

/// What a run's containers are, for as long as it lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Containers {
    /// As the settings said it when the run was submitted.
    pub options: docker::Options,
    /// The image that its name stood for then.
    pub image: docker::Image,
    /// The SDK on this host, for an image that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdk: Option<PathBuf>,
}

impl Containers {
    /// What a person is told of them, on one line.
    pub(crate) fn described(&self) -> String {
        let image = &self.image;
        let named = match (image.name.is_empty(), &image.digest) {
            (true, _) => "this host's own toolchain".to_owned(),
            (false, Some(digest)) => format!("the image {} ({digest}, {})", image.name, image.id),
            (false, None) => format!("the image {} ({})", image.name, image.id),
        };
        let runtime = self.options.runtime.as_ref().map(|name| format!(" under {name}")).unwrap_or_default();
        let scan = match &image.scan {
            Some(scan) if scan.counts.is_empty() => {
                format!("; {} found no vulnerability in it", scan.scanner)
            }
            Some(scan) => {
                let counts: Vec<String> =
                    scan.counts.iter().map(|(severity, n)| format!("{n} {severity}")).collect();
                format!("; {} found: {}", scan.scanner, counts.join(", "))
            }
            None => String::new(),
        };
        format!("steps run in containers of {named}{runtime}{scan}")
    }
}
