//! A real Redis, on a socket in a folder of its own, for as long as a test holds it.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Tells servers of one process apart.
static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// A running `redis-server`; dropped, it is killed and its folder removed.
pub struct RedisServer {
    child: Option<Child>,
    folder: PathBuf,
    options: Vec<String>,
}

impl RedisServer {
    /// Starts one with these further options, and waits until it listens.
    ///
    /// # Errors
    /// When there is no `redis-server`, or it does not come up: a test without it would prove nothing, and fails.
    pub fn start(options: &[&str]) -> io::Result<RedisServer> {
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("wflo-redis-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = RedisServer { child: None, folder, options };
        server.again()?;
        Ok(server)
    }

    /// Starts it again after [`RedisServer::kill`], empty.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub fn again(&mut self) -> io::Result<()> {
        let _ = std::fs::remove_file(self.socket());
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(self.socket())
            .args(&self.options)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                let help = "install it, such as by `apt-get install redis-server`";
                io::Error::other(format!("redis-server cannot be started ({error}): {help}"))
            })?;
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            if Instant::now() >= deadline {
                return Err(io::Error::other("redis-server did not come up"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
