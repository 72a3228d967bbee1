//! What sealing, going back and restoring take: `snapshots DIR ROUNDS`, microseconds as JSON.
//!
//! A workspace of 5,000 files of 100 kB of which a step changes 50, and one of a single file of 500 MB of
//! which a step changes 5 MB. What a step changed lies in memory, as in a sandbox. Floors are taken in turns
//! with what stands beside them; `bench/run.py` makes the table.
#![allow(clippy::print_stdout, reason = "it is what it is for")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use wflo_sandbox::workspace::{
    Bounds, Digest, Hidden, HideRules, RestoreOptions, Store, View, capture, restore, seal,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const FILES: usize = 5_000;
const EACH: usize = 100_000;
const ONE_IN: usize = 100;

fn main() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    let dir = PathBuf::from(words.next().ok_or("say where: snapshots DIR ROUNDS")?);
    let rounds: usize = words.next().ok_or("say how often: snapshots DIR ROUNDS")?.parse()?;
    let home = tempfile::tempdir_in(dir)?;
    let mut figures = serde_json::Map::new();
    many(home.path(), rounds, &mut figures)?;
    one(home.path(), rounds, &mut figures)?;
    println!("{}", serde_json::Value::Object(figures));
    Ok(())
}

/// Adds a time to what was measured under a name.
fn timed<T>(
    figures: &mut serde_json::Map<String, serde_json::Value>,
    name: &str,
    work: impl FnOnce() -> Outcome<T>,
) -> Outcome<T> {
    let start = Instant::now();
    let made = work()?;
    let taken = start.elapsed().as_secs_f64() * 1e6;
    let samples = figures.entry(name).or_insert_with(|| serde_json::json!([]));
    if let Some(samples) = samples.as_array_mut() {
        samples.push(taken.into());
    }
    Ok(made)
}

/// Bytes that no two calls share: nothing is stored already.
struct Noise(File);

impl Noise {
    fn bytes(&mut self, count: usize) -> Outcome<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn hidden(project: &Path) -> Outcome<Hidden> {
    Ok(Hidden::new(project, &HideRules::default())?)
}

fn place(index: usize) -> PathBuf {
    PathBuf::from(format!("d{}/f{index}", index / 50))
}

fn written(root: &Path, path: &Path, bytes: &[u8]) -> Outcome<()> {
    let full = root.join(path);
    fs::create_dir_all(full.parent().unwrap_or(root))?;
    Ok(fs::write(full, bytes)?)
}

fn flushed(folder: &Path) -> Outcome<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// Many files, one in a hundred changed.
fn many(home: &Path, rounds: usize, figures: &mut serde_json::Map<String, serde_json::Value>) -> Outcome<()> {
    let mut noise = Noise(File::open("/dev/urandom")?);
    let (project, store) = (home.join("many"), Store::open(home.join("state"))?);
    for index in 0..FILES {
        written(&project, &place(index), &noise.bytes(EACH)?)?;
    }
    flushed(home)?;
    let hidden = hidden(&project)?;
    let first = timed(figures, "seal", || Ok(seal(&project, &hidden, &store)?))?;
    let mut view = View { sealed: first, layers: Vec::new(), undone: Vec::new(), earlier: None };
    for round in 0..rounds {
        let (upper, floor) = (tempfile::tempdir_in("/dev/shm")?, tempfile::tempdir_in(home)?);
        for index in (0..FILES).skip(round).step_by(ONE_IN) {
            written(upper.path(), &place(index), &noise.bytes(EACH)?)?;
        }
        timed(figures, "changed_floor", || {
            for index in (0..FILES).skip(round).step_by(ONE_IN) {
                let bytes = fs::read(upper.path().join(place(index)))?;
                std::hint::black_box(Digest::of(&bytes));
                written(floor.path(), &place(index), &bytes)?;
            }
            flushed(home)
        })?;
        let opened = File::open(upper.path())?;
        let captured =
            timed(figures, "changed", || Ok(capture(opened.as_fd(), &store, &Bounds::default())?))?;
        view.layers.push(captured.ok_or("nothing was captured")?.layer);
        // Back to before it: what the next step would be shown.
        let (seal, layers) = (view.sealed.id, view.layers.iter().map(|layer| layer.id).collect::<Vec<_>>());
        let before = layers.get(..round).unwrap_or(&[]);
        let mounts = timed(figures, "back", || {
            let (back, _pin) = View::hold(&store, &seal, before)?;
            Ok(back.mounts(&store, &project, &hidden, &project)?)
        })?;
        drop(mounts);
        let (target, copied) = (home.join("restored"), home.join("copied"));
        timed(figures, "copy_floor", || {
            let copied = std::process::Command::new("cp").arg("-a").arg(&project).arg(&copied).status()?;
            if !copied.success() {
                return Err("cp failed".into());
            }
            flushed(home)
        })?;
        timed(figures, "restore", || {
            Ok(restore(&view, &store, &target, &RestoreOptions::default(), &|_| {})?)
        })?;
        fs::remove_dir_all(&target)?;
        fs::remove_dir_all(&copied)?;
        flushed(home)?;
    }
    Ok(())
}

/// One large file, a hundredth of it changed: the whole of it is in the upper directory, since overlays
/// copy files whole.
fn one(home: &Path, rounds: usize, figures: &mut serde_json::Map<String, serde_json::Value>) -> Outcome<()> {
    let mut noise = Noise(File::open("/dev/urandom")?);
    let store = Store::open(home.join("state"))?;
    let upper = tempfile::tempdir_in("/dev/shm")?;
    let large = upper.path().join("large");
    let mut file = File::create(&large)?;
    for _ in 0..FILES / ONE_IN {
        file.write_all(&noise.bytes(EACH * ONE_IN)?)?;
    }
    drop(file);
    for round in 0..rounds {
        let file = File::options().write(true).open(&large)?;
        file.write_all_at(&noise.bytes(EACH * FILES / ONE_IN)?, u64::try_from(round * EACH)?)?;
        // What a store of chunks could not do without: each byte read and hashed, the changed ones written.
        timed(figures, "large_floor", || {
            let mut hasher = blake3::Hasher::new();
            let mut file = File::open(&large)?;
            std::io::copy(&mut file, &mut hasher)?;
            std::hint::black_box(hasher.finalize());
            fs::write(home.join("chunk"), noise.bytes(EACH * FILES / ONE_IN)?)?;
            flushed(home)
        })?;
        let opened = File::open(upper.path())?;
        timed(figures, "large", || Ok(capture(opened.as_fd(), &store, &Bounds::default())?))?;
    }
    Ok(())
}
