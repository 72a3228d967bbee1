//! `[sandbox]`: what is installed for steps, and from where.

use wflo_core::size::Bytes;
use wflo_egress::rules::Rule;
use wflo_engine::images::{Named, USUAL_DISK};

use super::sandbox::each_read;
use crate::document::{Field, Kind, Problem, Reader, Value};

/// What a project wants installed, as it is written.
#[derive(Debug, Clone)]
pub(crate) struct Packages {
    /// Files of requirements, and requirements.
    pub(crate) requirements: Vec<String>,
    /// Packages of the machine's distribution.
    pub(crate) system: Vec<String>,
    /// The index; the public one where nothing is said.
    pub(crate) index_url: Option<String>,
    /// Further ones.
    pub(crate) extra_index_urls: Vec<String>,
    /// Further hosts that files are fetched from, as rules.
    pub(crate) index_hosts: Vec<String>,
    /// Whether what has no wheel is built.
    pub(crate) source_builds: bool,
    /// What may be written meanwhile.
    pub(crate) disk: Bytes,
}

impl Default for Packages {
    fn default() -> Self {
        Packages {
            requirements: Vec::new(),
            system: Vec::new(),
            index_url: None,
            extra_index_urls: Vec::new(),
            index_hosts: Vec::new(),
            source_builds: false,
            disk: USUAL_DISK,
        }
    }
}

impl Packages {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Problem> {
        let mut packages = Packages::default();
        if let Some(field) = reader.optional("requirements") {
            packages.requirements = one_or_more(&field)?;
        }
        if let Some(field) = reader.optional("packages") {
            packages.system = field.texts()?;
            for text in &packages.system {
                let Err(why) = text.parse::<Named>() else { continue };
                let hint = "name packages of the distribution as \"jq\" or \"jq=1.6*\"; Python packages are named in \
                            `requirements`";
                return Err(field.problem(Kind::WrongValue, format!("has {text:?}: {why}")).hint(hint));
            }
        }
        packages.index_url =
            reader.optional("index_url").map(|field| field.name().map(str::to_owned)).transpose()?;
        if let Some(field) = reader.optional("extra_index_urls") {
            packages.extra_index_urls = field.texts()?;
        }
        if let Some(field) = reader.optional("index_hosts") {
            packages.index_hosts = each_read::<Rule>(&field)?;
            let is_part = |host: &String| !host.parse::<Rule>().is_ok_and(|rule| rule.is_only_a_host());
            if packages.index_hosts.iter().any(is_part) {
                return Err(
                    field.wrong("hosts, each with or without a port, such as [\"files.example.org\"]")
                );
            }
        }
        if let Some(field) = reader.optional("source_builds") {
            packages.source_builds = field.boolean()?;
        }
        if let Some(field) = reader.optional("build_disk_limit") {
            packages.disk = field.parse()?;
        }
        Ok(packages)
    }
}

/// One text, or several.
fn one_or_more(field: &Field<'_>) -> Result<Vec<String>, Problem> {
    match &field.node.value {
        Value::List(_) => field.texts(),
        _ => Ok(vec![field.name()?.to_owned()]),
    }
}
