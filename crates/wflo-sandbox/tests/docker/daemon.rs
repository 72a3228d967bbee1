//! The daemon that the tests use.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

pub struct Daemon {
    pub host: String,
    /// `None` is the daemon's own choice.
    pub runtimes: Vec<Option<String>>,
    /// Its standard input is what keeps it: the end of this process is its end.
    _process: Option<Child>,
}

impl Daemon {
    /// `None`, and why on standard error, where there can be none.
    pub fn get() -> Option<&'static Daemon> {
        static DAEMON: OnceLock<Result<Daemon, String>> = OnceLock::new();
        match DAEMON.get_or_init(Daemon::start) {
            Ok(daemon) => Some(daemon),
            Err(reason) => {
                eprintln!("NOT RUN, because there is no Docker daemon: {reason}");
                None
            }
        }
    }

    fn start() -> Result<Daemon, String> {
        let (host, process) = match std::env::var("WFLO_TEST_DOCKER") {
            Ok(host) => (host, None),
            Err(_) => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/test_dockerd.sh");
                let mut process = Command::new(script)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .map_err(|error| error.to_string())?;
                let mut host = String::new();
                let _ = BufReader::new(process.stdout.take().unwrap()).read_line(&mut host);
                if host.trim().is_empty() {
                    let mut reason = String::new();
                    let _ = std::io::Read::read_to_string(&mut process.stderr.take().unwrap(), &mut reason);
                    return Err(reason.trim().to_owned());
                }
                (host.trim().to_owned(), Some(process))
            }
        };
        let mut runtimes = vec![None];
        let known = Command::new("sh").args(["-c", "command -v runsc"]).output().unwrap().status.success();
        if known {
            runtimes.push(Some("runsc".to_owned()));
        } else {
            eprintln!("NOT RUN with gVisor: there is no runsc on the PATH");
        }
        Ok(Daemon { host, runtimes, _process: process })
    }

    /// The ids of all containers that it knows.
    pub fn containers(&self) -> Vec<String> {
        let listed = Command::new("docker")
            .args(["--host", &self.host, "ps", "--all", "--quiet", "--no-trunc"])
            .output()
            .expect("the docker command");
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
    }
}
