//! What is told of a sandbox, in E2B's names.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use wflo_core::size::Bytes;

use crate::ask::DiskUse;
use crate::life::AtEnd;
use crate::live::Live;
use crate::sandboxes::Each;

/// The version of E2B's own agent whose calls are answered as it does: clients ask for nothing that it has not.
const ENVD_VERSION: &str = "0.6.7";
/// Sandboxes are made by nobody in particular.
const CLIENT: &str = "wflo";

/// To whoever may use it: with its tokens.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Created<'a> {
    #[serde(rename = "templateID")]
    template_id: &'a str,
    #[serde(rename = "sandboxID")]
    sandbox_id: &'a str,
    #[serde(rename = "clientID")]
    client_id: &'static str,
    envd_version: &'static str,
    envd_access_token: &'a str,
    traffic_access_token: &'a str,
}

impl<'a> Created<'a> {
    pub(super) fn of(live: &'a Live) -> Created<'a> {
        Created {
            template_id: &live.template,
            sandbox_id: &live.id,
            client_id: CLIENT,
            envd_version: ENVD_VERSION,
            envd_access_token: &live.tokens.access,
            traffic_access_token: &live.tokens.traffic,
        }
    }
}

/// In a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    #[serde(rename = "templateID")]
    template_id: String,
    alias: String,
    #[serde(rename = "sandboxID")]
    sandbox_id: String,
    #[serde(rename = "clientID")]
    client_id: &'static str,
    started_at: String,
    end_at: String,
    envd_version: &'static str,
    cpu_count: u64,
    #[serde(rename = "memoryMB")]
    memory_mb: u64,
    #[serde(rename = "diskSizeMB")]
    disk_size_mb: u64,
    state: &'static str,
    metadata: BTreeMap<String, String>,
}

fn mega(bytes: Bytes) -> u64 {
    bytes.0 >> 20
}

fn processors(each: &Each) -> u64 {
    each.cpus.0.div_ceil(1_000)
}

impl Listed {
    pub(super) fn of(live: &Live, each: &Each) -> Listed {
        Listed {
            template_id: live.template.clone(),
            alias: live.template.clone(),
            sandbox_id: live.id.clone(),
            client_id: CLIENT,
            started_at: live.started.to_string(),
            end_at: live.ends().to_string(),
            envd_version: ENVD_VERSION,
            cpu_count: processors(each),
            memory_mb: mega(each.memory),
            disk_size_mb: mega(each.disk),
            state: if live.is_paused() { "paused" } else { "running" },
            metadata: live.metadata.clone(),
        }
    }

    /// With what is told of one alone.
    pub(super) fn in_full(self, live: &Live) -> Value {
        let mut told = json!(self);
        if let Some(told) = told.as_object_mut() {
            told.insert("envdAccessToken".to_owned(), json!(live.tokens.access));
            told.insert("allowInternetAccess".to_owned(), json!(!live.hosts().is_empty()));
            let at_end = if live.at_end() == AtEnd::Pause { "pause" } else { "kill" };
            told.insert("lifecycle".to_owned(), json!({ "onTimeout": at_end, "autoResume": live.wakes }));
        }
        told
    }
}

/// What it uses now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metric {
    timestamp: String,
    timestamp_unix: i64,
    cpu_count: u64,
    cpu_used_pct: f64,
    /// What it has; the most that it had at a time where nothing else is counted.
    mem_used: u64,
    mem_total: u64,
    mem_cache: u64,
    disk_used: u64,
    disk_total: u64,
}

impl Metric {
    pub(super) fn new(now: Timestamp, each: &Each, memory: u64, share: f64, disk: DiskUse) -> Metric {
        Metric {
            timestamp: now.to_string(),
            timestamp_unix: now.as_second(),
            cpu_count: processors(each),
            cpu_used_pct: share,
            mem_used: memory,
            mem_total: each.memory.0,
            mem_cache: 0,
            // What its agent says is nothing that anybody relies on.
            disk_used: disk.used,
            disk_total: disk.total,
        }
    }
}
