//! One sandbox is started, with its agent.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use wflo_core::error::{Code, Coded as _};
use wflo_egress::client_env;
use wflo_egress::inspect::trust_env;
use wflo_sandbox::{Bind, EGRESS_PORT, Limits, ProcessTree, Spec, Stdio, View};

use super::{HOME, Sandboxes};
use crate::AGENT_ARGUMENT;
use crate::access::USER;
use crate::error::ApiError;
use crate::network::Sight;

/// Where its agent is, inside.
const AGENT: &str = "/run/wflo/agent";
/// Where the certificates are that programs trust, where their requests are seen.
const TRUSTED: &str = "/opt/wflo/trusted.pem";

impl Sandboxes {
    /// Starts the sandbox and its agent. Blocks.
    pub(super) fn launch(
        &self,
        id: &str,
        env: BTreeMap<String, String>,
        hosts: &[String],
    ) -> Result<(ProcessTree, OwnedFd, Option<Sight>), ApiError> {
        let sight = Sight::of(hosts).map_err(|error| not_made(error.code(), &error))?;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|error| not_made(Code(9005), &error))?;
        let mut spec = Spec::new([AGENT, AGENT_ARGUMENT]);
        let path = self.each.path.iter().map(|folder| folder.display().to_string());
        let path = path.chain([wflo_sandbox::PATH.to_owned()]).collect::<Vec<_>>().join(":");
        let mut all: BTreeMap<String, String> = [
            ("HOME", HOME),
            ("USER", USER),
            ("LOGNAME", USER),
            ("SHELL", "/bin/bash"),
            ("PATH", &path),
            ("E2B_SANDBOX", "true"),
            ("E2B_SANDBOX_ID", id),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        if !hosts.is_empty() {
            all.extend(client_env(EGRESS_PORT));
        }
        if sight.is_some() {
            all.extend(trust_env(TRUSTED));
        }
        all.extend(env);
        spec.env = all.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        spec.workspace = Some(View { lowers: Vec::new(), target: HOME.into() });
        spec.ro = self.each.ro.iter().cloned().chain([Bind::new(&self.program, AGENT)]).collect();
        spec.ro.extend(sight.iter().map(|sight| Bind::new(sight.trusted.path(), TRUSTED)));
        spec.stdin = Stdio::Fd(theirs);
        spec.pts = true;
        spec.preset = self.each.preset;
        spec.egress_listener = !hosts.is_empty();
        "e2b".clone_into(&mut spec.hostname);
        // Its time is the server's affair: it may be changed.
        spec.limits = Limits {
            memory: Some(self.each.memory),
            cpus: Some(self.each.cpus),
            pids: Some(self.each.pids),
            disk: Some(self.each.disk),
            ..Limits::default()
        };
        let tree = self.launcher.launch(spec).map_err(|error| not_made(error.code(), &error))?;
        Ok((tree, ours, sight))
    }
}

pub(super) fn not_made(code: Code, error: &dyn std::error::Error) -> ApiError {
    ApiError::NotMade { code, message: error.to_string() }
}
