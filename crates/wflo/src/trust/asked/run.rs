//! What a run has beyond what the settings say: by its command line, its record, or what its program needs.

use wflo_engine::launch::Launch;
use wflo_engine::program::Program;

use super::Asked;
use super::sandbox::reach;
use crate::settings::{Backend, Settings};

/// What a recorded run was started with beyond what the settings say now: a `.wflo` may have been brought
/// along too, with runs that nobody of this machine has started.
pub(crate) fn of_run(launch: &Launch, settings: &Settings) -> Vec<Asked> {
    let (sandbox, root) = (&settings.sandbox, &settings.project.root);
    let mut found = Vec::new();
    found.extend(by_hand(launch.backend).filter(|_| sandbox.backend != Some(launch.backend)));
    if let Some(docker) = &launch.docker
        && docker.options != sandbox.docker
    {
        let does = "its steps run in containers that the settings do not ask for";
        found.push(Asked::new("run.docker", docker.options.image.clone().unwrap_or_default(), does));
    }
    found.extend(reach_of_run(launch, settings));
    for name in launch.env.iter().filter(|name| !sandbox.env.contains(name)) {
        found.push(Asked::new("run.env", name, "its steps see the variable's value"));
    }
    for (key, mounts, said, does) in [
        ("run.ro", &launch.ro, &sandbox.ro, "its steps read it"),
        ("run.rw", &launch.rw, &sandbox.rw, "its steps write there, not on a copy"),
    ] {
        let said: Vec<_> = said.iter().map(|mount| mount.places(root)).collect();
        for (source, target) in mounts.iter().filter(|mount| !said.contains(mount)) {
            found.push(Asked::new(key, format!("{}:{}", source.display(), target.display()), does));
        }
    }
    found.extend(launch.program.iter().flat_map(of_program));
    found
}

/// What a program's sandbox shows of the host because whoever started it named the program.
pub(crate) fn of_program(program: &Program) -> Vec<Asked> {
    let shown = program.shown.iter();
    shown.map(|place| Asked::new("run.program", place.display().to_string(), "its program sees it")).collect()
}

/// Of that, what a file of the project leads to: nobody has named it by hand.
pub(crate) fn led_to(program: &Program) -> Vec<Asked> {
    let (asked, led) = (of_program(program), program.led.iter().map(|place| place.display().to_string()));
    let led: Vec<String> = led.collect();
    asked.into_iter().filter(|asked| led.contains(&asked.value)).collect()
}

/// A run with a backend that reaches further than this machine's own walls, as the command line asks for it.
pub(crate) fn by_hand(backend: Backend) -> Option<Asked> {
    let does = reach(backend.name())?;
    Some(Asked::new("run.backend", backend.name(), does))
}

/// The hosts and addresses among that.
pub(crate) fn reach_of_run(launch: &Launch, settings: &Settings) -> Vec<Asked> {
    let sandbox = &settings.sandbox;
    // One that does not count lets nothing in.
    let remembered = super::super::hosts::read(&settings.project.root).unwrap_or_default();
    let is_known = |host: &&String| sandbox.allow_hosts.contains(host) || remembered.allow.contains(*host);
    let said = launch.said_hosts.iter().filter(|said| said.allowed).map(|said| &said.rule);
    let said = said.filter(|host| !launch.allow_hosts.contains(host));
    let hosts = launch.allow_hosts.iter().chain(said).filter(|host| !is_known(host));
    let addresses =
        launch.allow_addresses.iter().filter(|address| !sandbox.allow_addresses.contains(address));
    let does = "its steps reach it, though it is no public one";
    hosts
        .map(|host| host_by_hand(host))
        .chain(addresses.map(|address| Asked::new("run.allow_addresses", address, does)))
        .collect()
}

/// A host that a run may reach, as the command line allows it.
pub(crate) fn host_by_hand(host: &str) -> Asked {
    Asked::new("run.allow_hosts", host, "its steps reach it")
}
