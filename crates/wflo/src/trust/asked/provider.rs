//! Providers of models: where calls of steps go, and with which key.

use std::path::Path;

use super::place::{is_outside, is_this_machine};
use super::{Asked, of_command, text};
use crate::document::Table;

pub(super) fn of_provider(key: &str, provider: &Table, root: &Path, found: &mut Vec<Asked>) {
    if let Some(command) = provider.get("api_key_command") {
        found.push(of_command(format!("{key}.api_key_command"), command, root));
    }
    if let Some(file) = text(provider, "api_key_file").filter(|file| is_outside(file, root)) {
        found.push(Asked::new(format!("{key}.api_key_file"), file, "is read and sent to the provider"));
    }
    if let Some(url) = text(provider, "base_url").filter(|url| !is_this_machine(url)) {
        let does = "model calls of steps go there";
        found.push(Asked::new(format!("{key}.base_url"), url, does));
        if let Some(name) = text(provider, "api_key_env") {
            let does = "the variable's value is sent to that address";
            found.push(Asked::new(format!("{key}.api_key_env"), name, does));
        }
    }
}
