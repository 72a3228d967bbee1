//! What a daemon says of itself.

use std::path::{Path, PathBuf};

use ::bollard::Docker as Api;

use super::{Error, Options, api};
use crate::native::{Preset, Version};

/// What the daemon says of itself.
#[derive(Debug, Clone)]
pub(super) struct DaemonSays {
    pub(super) maps_users: bool,
    pub(super) runtimes: Vec<String>,
    pub(super) cgroup: Version,
    pub(super) memory: bool,
    pub(super) cpus: bool,
    /// Where it keeps what its containers are made of.
    pub(super) root: Option<PathBuf>,
    pub(super) limits_io: bool,
    apparmor: bool,
}

impl DaemonSays {
    /// Asks it.
    pub(super) async fn of(api: &Api) -> Result<DaemonSays, Error> {
        let info = api.info().await.map_err(|error| api::failed("ask the daemon of", &error))?;
        let options = info.security_options.unwrap_or_default();
        let has = |name: &str| {
            options.iter().any(|option| option.split(',').any(|part| part == format!("name={name}")))
        };
        let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        let v2 = info.cgroup_version.is_some_and(|version| version.to_string() == "2");
        Ok(DaemonSays {
            maps_users: has("rootless") || has("userns"),
            runtimes,
            cgroup: if v2 { Version::V2 } else { Version::V1 },
            memory: info.memory_limit.unwrap_or(false),
            cpus: info.cpu_cfs_quota.unwrap_or(false),
            root: info.docker_root_dir.map(PathBuf::from),
            limits_io: limits_io(v2),
            apparmor: has("apparmor"),
        })
    }

    /// Whether it has the runtime that the options name, if they do.
    pub(super) fn check_runtime(&self, options: &Options) -> Result<(), Error> {
        match &options.runtime {
            Some(runtime) if !self.runtimes.contains(runtime) => {
                Err(Error::NoRuntime { runtime: runtime.clone(), known: self.runtimes.join(", ") })
            }
            _ => Ok(()),
        }
    }

    /// The profile of wflo's for a preset, where the daemon confines by profiles and the operator has loaded it.
    pub(super) fn profile(&self, preset: Preset) -> Option<String> {
        self.apparmor.then(|| loaded_profile(preset)).flatten()
    }
}

/// A connection to a daemon, for who only asks.
pub(super) fn ask<T>(host: &str, question: impl AsyncFnOnce(Api) -> Result<T, Error>) -> Result<T, Error> {
    let io = |source| Error::Io { what: "starting a runtime", source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
    runtime.block_on(async { question(api::connect(host).await?).await })
}

/// Whether the daemon's kernel, which is this one, limits disks: it would leave out a limit that it cannot set, and
/// say so nowhere but in a warning.
fn limits_io(v2: bool) -> bool {
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    match v2 {
        true => controllers.split_whitespace().any(|name| name == "io"),
        false => Path::new("/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device").exists(),
    }
}

fn loaded_profile(preset: Preset) -> Option<String> {
    let name = format!("wflo-{preset}");
    let folder = Path::new("/sys/kernel/security/apparmor/policy/profiles");
    let known = std::fs::read_dir(folder).ok()?.flatten();
    let loaded = known.into_iter().any(|entry| {
        entry.file_name().to_string_lossy().rsplit_once('.').is_some_and(|(before, _)| before == name)
    });
    loaded.then_some(name)
}
