//! `[cache]`: model calls that need not be made again.
//!
//! Owns the reading; what the settings mean, and their defaults, belong to the gateway, whose types these are.

use std::time::Duration;

use wflo_core::size::Bytes;
use wflo_gateway::cache::{Address, CachePlace, CacheSettings, Scope};

use crate::document::{Field, Problem, Reader};

/// How long a call waits for Redis where nothing is said.
const PATIENCE: Duration = Duration::from_millis(50);

/// More of one answer is not kept anywhere: Redis takes no larger value.
const LARGEST: Bytes = Bytes(256 << 20);

/// Where answers are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Memory,
    Redis,
}

pub(super) fn read(field: &Field<'_>) -> Result<CacheSettings, Problem> {
    let mut reader = field.table()?;
    let usual = CacheSettings::default();
    let kept = reader.required("backend")?.choice(&[("memory", Kept::Memory), ("redis", Kept::Redis)])?;
    let scopes = [("caller", Scope::Caller), ("workflow", Scope::Workflow), ("everyone", Scope::Everyone)];
    let scope = reader.optional("scope").map(|field| field.choice(&scopes)).transpose()?;
    let max_entry_bytes = size(&mut reader, "max_entry_bytes", LARGEST)?;
    let settings = CacheSettings {
        scope: scope.unwrap_or_default(),
        ttl: super::routing::span(&mut reader, "ttl_seconds")?.unwrap_or(usual.ttl),
        max_entry_bytes: max_entry_bytes.unwrap_or(usual.max_entry_bytes),
        sampled: reader.optional("sampled").map_or(Ok(usual.sampled), |field| field.boolean())?,
        ..usual
    };
    let settings = match kept {
        Kept::Memory => match size(&mut reader, "max_bytes", Bytes(i64::MAX as u64))? {
            Some(max_bytes) => CacheSettings { place: CachePlace::Memory { max_bytes }, ..settings },
            None => settings,
        },
        Kept::Redis => {
            let address = read_address(&reader.required("url")?)?;
            let patience = super::routing::span(&mut reader, "wait_seconds")?.unwrap_or(PATIENCE);
            let namespace = read_namespace(&reader.required("namespace")?)?;
            CacheSettings { place: CachePlace::Redis { address, patience }, namespace, ..settings }
        }
    };
    reader.finish()?;
    Ok(settings)
}

/// The text may hold a password, and is not said again.
fn read_address(field: &Field<'_>) -> Result<Address, Problem> {
    Address::parse(field.name()?).map_err(|error| {
        field.wrong(error).hint("a password belongs into the environment: WFLO_CACHE__URL is this setting")
    })
}

fn read_namespace(field: &Field<'_>) -> Result<String, Problem> {
    let text = field.name()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text.len() <= 64 && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(field.wrong("at most 64 letters, digits, `-`, `_` and `.`")),
    }
}

/// A size that is not nothing.
fn size(reader: &mut Reader<'_>, key: &'static str, most: Bytes) -> Result<Option<usize>, Problem> {
    let Some(field) = reader.optional(key) else { return Ok(None) };
    match field.parse()? {
        Bytes(0) => Err(field.wrong("more than nothing")),
        size if size > most => Err(field.wrong("at most 256m")),
        Bytes(size) => Ok(Some(usize::try_from(size).unwrap_or(usize::MAX))),
    }
}
