//! The data folder: can it be written, do locks work on it, how fast does it sync.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::settings::Settings;

use super::{Check, Outcome};

/// How long the disk is measured.
const MEASURE: Duration = Duration::from_millis(300);

/// The three checks; the later two only when the first holds.
pub(super) fn check(settings: &Settings) -> Vec<Check> {
    let folder = &settings.data_dir;
    let existed = folder.is_dir();
    let checks = match std::fs::create_dir_all(folder) {
        Ok(()) => inside(folder),
        Err(error) => vec![unwritable(folder, &error)],
    };
    if !existed {
        // Looking leaves no trace: an empty folder that was not there goes again.
        let _ = std::fs::remove_dir(folder);
    }
    checks
}

fn unwritable(folder: &Path, error: &std::io::Error) -> Check {
    Check::new("data", Outcome::Missing, format!("{} cannot be written: {error}", folder.display()))
        .fix("give this user write access to it, or choose another with --data-dir or WFLO_DATA_DIR")
}

fn inside(folder: &Path) -> Vec<Check> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let checks = match std::fs::File::create_new(&path) {
        Ok(mut file) => {
            vec![
                Check::new("data", Outcome::Ok, folder.display().to_string()),
                locks(&file),
                sync_rate(&mut file),
            ]
        }
        Err(error) => vec![unwritable(folder, &error)],
    };
    let _ = std::fs::remove_file(&path);
    checks
}

fn locks(file: &std::fs::File) -> Check {
    use rustix::fs::{FlockOperation, fcntl_lock};
    let taken = fcntl_lock(file, FlockOperation::NonBlockingLockExclusive)
        .and_then(|()| fcntl_lock(file, FlockOperation::NonBlockingUnlock));
    match taken {
        Ok(()) => Check::new("locks", Outcome::Ok, "POSIX record locks work on the data folder"),
        Err(error) => Check::new(
            "locks",
            Outcome::Missing,
            format!("the data folder takes no POSIX record locks: {error}"),
        )
        .fix("choose a folder on a local disk with --data-dir"),
    }
}

/// Each durable step costs a sync or a share of one, so this number bounds what a run can do.
fn sync_rate(file: &mut std::fs::File) -> Check {
    let begin = Instant::now();
    let mut count = 0_u32;
    while begin.elapsed() < MEASURE {
        if let Err(error) = file.write_all(&[0x5a; 4096]).and_then(|()| file.sync_data()) {
            return Check::new("disk", Outcome::Missing, format!("a durable write failed: {error}"))
                .fix("free some space, or choose another disk with --data-dir");
        }
        count += 1;
    }
    let rate = f64::from(count) / begin.elapsed().as_secs_f64();
    let detail = format!("{rate:.0} durable writes a second");
    if rate < 50.0 {
        return Check::new("disk", Outcome::Note, format!("{detail}: slow, and steps wait for it"))
            .fix("keep the data folder on a faster disk with --data-dir");
    }
    Check::new("disk", Outcome::Ok, detail)
}
