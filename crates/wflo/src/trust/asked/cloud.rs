//! A cloud that steps run in.

use std::path::Path;

use super::place::{is_outside, is_this_machine};
use super::{Asked, of_command, text};
use crate::document::Table;

/// A cloud, which sees what steps see, and gets the key that is named for it.
pub(super) fn of_cloud(cloud: &Table, root: &Path, found: &mut Vec<Asked>) {
    let key = "sandbox.e2b";
    if let Some(command) = cloud.get("api_key_command") {
        found.push(of_command(format!("{key}.api_key_command"), command, root));
    }
    if let Some(file) = text(cloud, "api_key_file").filter(|file| is_outside(file, root)) {
        found.push(Asked::new(format!("{key}.api_key_file"), file, "is read and sent to the cloud"));
    }
    let elsewhere = |name: &str| text(cloud, name).filter(|url| name == "domain" || !is_this_machine(url));
    let places: Vec<_> = ["domain", "api_url", "sandbox_url"]
        .into_iter()
        .filter_map(|name| Some((name, elsewhere(name)?)))
        .collect();
    for (name, place) in &places {
        found.push(Asked::new(
            format!("{key}.{name}"),
            *place,
            "steps, and the project's files with them, go there",
        ));
    }
    if let Some(name) = text(cloud, "api_key_env").filter(|name| !places.is_empty() || *name != "E2B_API_KEY")
    {
        found.push(Asked::new(
            format!("{key}.api_key_env"),
            name,
            "the variable's value is sent to the cloud",
        ));
    }
    if let Some(template) = text(cloud, "template") {
        found.push(Asked::new(format!("{key}.template"), template, "steps run in it"));
    }
}
