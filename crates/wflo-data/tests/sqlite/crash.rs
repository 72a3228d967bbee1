//! Kill -9 at any moment, and two processes at once: every effect happens exactly once.
//!
//! The test binary starts itself again as the process that is killed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use wflo_data::{Database, DatabaseUrl, Limits, Value};

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

/// Not a test by itself: what the child process runs.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(DATABASE) else { return };
    let mut parts = arguments.split('|');
    let path = parts.next().unwrap();
    let numbers: Vec<u32> = parts.map(|part| part.parse().unwrap()).collect();
    run_effects(Path::new(path), numbers[0], numbers[1]);
}

fn start(path: &Path, first: u32, last: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(DATABASE, format!("{}|{first}|{last}", path.display()))
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

#[test]
fn killed_at_any_moment_every_effect_happens_once() {
    const EFFECTS: u32 = 120;
    for mode in ["wal", "delete"] {
        let temp = Temp::new(SCHEMA);
        let _: String =
            temp.other().query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| row.get(0)).unwrap();
        let (mut kills, mut spins) = (0u32, 7u64);
        // Always from the first effect: what was done before is replayed from its record. Each round
        // gets further than the last, or it is the last.
        loop {
            let mut process = start(&temp.path(), 0, EFFECTS);
            let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
            let target = kills * 9 + 5;
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
                break;
            }
            process.kill().unwrap();
            process.wait().unwrap();
            kills += 1;
        }
        assert!(kills >= 10, "only {kills} kills");
        check(&temp, EFFECTS);
    }
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
