//! Kill -9 at any moment, and two processes at once: every effect happens exactly once.
//!
//! The test binary starts itself again as the process that is killed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use wflo_data::{Committed, Database, DatabaseUrl, Limits, Preview, Value};

use crate::temp::{ANY, Temp, UNDOABLE, effect, execute, one};

const SCHEMA: &str = "CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
                      CREATE TABLE entries (id INTEGER PRIMARY KEY, effect TEXT UNIQUE);
                      CREATE TRIGGER entry AFTER INSERT ON entries BEGIN UPDATE counter SET n = n + 1; END;
                      INSERT INTO counter VALUES (1, 0);";
const DATABASE: &str = "WFLO_DATA_TEST_CHILD";

/// Applies the effects from `first` to `last`, and says each that returned.
fn run_effects(path: &Path, first: u32, last: u32) {
    let limits = Limits { lock_wait: std::time::Duration::from_secs(60), ..Limits::default() };
    let db = Database::open("main", &DatabaseUrl::Sqlite(path.to_path_buf()), limits).unwrap();
    for number in first..last {
        let id = format!("effect-{number}");
        let write = execute(&format!("INSERT INTO entries (effect) VALUES ('{id}')"));
        let required = if number % 2 == 0 { UNDOABLE } else { ANY };
        let applied = db.apply(effect(&id), &write, required).unwrap();
        assert_eq!(applied.result.rows_affected, 1);
        println!("\napplied {number}");
    }
}

/// Commits chains of four, the last of which counts the others; says each chain that returned.
fn run_chains(path: &Path, chains: u32) {
    let limits = Limits { lock_wait: std::time::Duration::from_secs(60), ..Limits::default() };
    let db = Database::open("main", &DatabaseUrl::Sqlite(path.to_path_buf()), limits).unwrap();
    for number in 0..chains {
        let ids: Vec<String> = (0..4).map(|part| format!("chain-{number}-{part}")).collect();
        // One that is on record cannot be previewed again, and need not be.
        if db.recorded(effect(&ids[0])).unwrap().is_none() {
            let mut previews: Vec<Preview> = Vec::new();
            for (part, id) in ids.iter().enumerate() {
                let write = match part {
                    3 => format!(
                        "UPDATE entries SET effect = effect || '!' WHERE effect LIKE 'chain-{number}-%'"
                    ),
                    _ => format!("INSERT INTO entries (effect) VALUES ('{id}')"),
                };
                let prior: Vec<_> = previews.iter().map(|preview| &preview.changeset).collect();
                let preview = db.preview(&prior, &execute(&write), UNDOABLE).unwrap();
                previews.push(preview);
            }
            let chain: Vec<_> = ids.iter().map(|id| effect(id)).zip(&previews).collect();
            assert!(matches!(db.commit_previews(&chain, false).unwrap(), Committed::Applied(_)));
        }
        for id in &ids {
            assert!(db.recorded(effect(id)).unwrap().is_some(), "{id} is recorded with the others");
        }
        println!("\napplied {number}");
    }
}

/// Not a test by itself: what the child process runs.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(DATABASE) else { return };
    let mut parts = arguments.split('|');
    let path = parts.next().unwrap();
    let numbers: Vec<u32> = parts.map(|part| part.parse().unwrap()).collect();
    match numbers[..] {
        [chains] => run_chains(Path::new(path), chains),
        _ => run_effects(Path::new(path), numbers[0], numbers[1]),
    }
}

fn start(path: &Path, first: u32, last: u32) -> Child {
    start_with(&format!("{}|{first}|{last}", path.display()))
}

fn start_with(arguments: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(DATABASE, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn check(temp: &Temp, effects: u32) {
    let db = temp.db();
    let wanted = Value::Integer(i64::from(effects));
    assert_eq!(one(&db, "SELECT n FROM counter"), wanted);
    assert_eq!(one(&db, "SELECT count(DISTINCT effect) FROM entries"), wanted);
    let ok: String = temp.other().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(ok, "ok");
}

/// Kills the process again and again at different moments, each time a little later, until it ends.
fn kill_until_done(start: impl Fn() -> Child, step: u32) -> u32 {
    let (mut kills, mut spins) = (0u32, 7u64);
    // Always from the first effect: what was done before is replayed from its record. Each round gets
    // further than the last, or it is the last.
    loop {
        let mut process = start();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let target = kills * step + 5;
        let reached = lines
            .filter(|line| line.starts_with("applied"))
            .any(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap() >= target);
        // A different moment in the next transaction each time.
        spins = spins.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        for _ in 0..spins >> 44 {
            std::hint::spin_loop();
        }
        if !reached {
            assert!(process.wait().unwrap().success());
            return kills;
        }
        process.kill().unwrap();
        process.wait().unwrap();
        kills += 1;
    }
}

#[test]
fn killed_at_any_moment_every_effect_happens_once() {
    const EFFECTS: u32 = 120;
    for mode in ["wal", "delete"] {
        let temp = Temp::new(SCHEMA);
        let _: String =
            temp.other().query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| row.get(0)).unwrap();
        let kills = kill_until_done(|| start(&temp.path(), 0, EFFECTS), 9);
        assert!(kills >= 10, "only {kills} kills");
        check(&temp, EFFECTS);
    }
}

#[test]
fn killed_at_any_moment_a_chain_is_there_whole_or_not_at_all() {
    const CHAINS: u32 = 40;
    let temp = Temp::new(SCHEMA);
    let arguments = format!("{}|{CHAINS}", temp.path().display());
    let kills = kill_until_done(|| start_with(&arguments), 3);
    assert!(kills >= 10, "only {kills} kills");
    check(&temp, 3 * CHAINS);
    let marked = Value::Integer(i64::from(3 * CHAINS));
    let sql = "SELECT count(*) FROM entries WHERE effect LIKE '%!' AND effect NOT LIKE '%!!'";
    assert_eq!(one(&temp.db(), sql), marked, "the last of each chain saw the others, once");
    assert_eq!(
        temp.other().query_row("SELECT count(*) FROM _wflo_effects", [], |row| row.get(0)),
        Ok(4 * CHAINS)
    );
}

#[test]
fn two_processes_with_the_same_effects_do_each_once() {
    const EFFECTS: u32 = 60;
    let temp = Temp::new(SCHEMA);
    let path = temp.path();
    // The same ones twice, and some that only one of them has.
    let processes = [start(&path, 0, EFFECTS), start(&path, 0, EFFECTS), start(&path, EFFECTS, EFFECTS + 20)];
    for mut process in processes {
        let mut output = BufReader::new(process.stdout.take().unwrap());
        std::io::copy(&mut output, &mut std::io::sink()).unwrap();
        assert!(process.wait().unwrap().success());
    }
    check(&temp, EFFECTS + 20);
}
