//! Measures the engine, the store and the gateway from inside, each beside its floor, in one process.
//!
//!     wflo-bench engine|submission|waiting|gateway [--dir FOLDER] [--seconds S] [--rounds N]
//!
//! Prints one JSON object a row; `bench/run.py` runs it, adds what is measured from outside (sandbox,
//! Python, command line) and prints the table.
//!
//! **Architecture Invariant:** a figure and its floor are taken in turns within one run, and nothing here
//! asserts a time.

mod disk;
mod engine;
mod gateway;
mod ledger;
mod row;
mod samples;
mod submission;
mod waiting;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Whatever goes wrong ends the section with its text: there is nothing to recover in a measurement.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What the command line asks for.
struct Plan {
    section: String,
    /// Where data directories are made: the disk that is measured.
    dir: PathBuf,
    /// How long each rate is measured in each round.
    span: Duration,
    rounds: usize,
}

fn plan() -> Outcome<Plan> {
    let mut words = std::env::args().skip(1);
    let section = words.next().ok_or("say what to measure: engine, submission, waiting or gateway")?;
    let mut plan = Plan { section, dir: std::env::temp_dir(), span: Duration::from_secs(2), rounds: 3 };
    while let Some(flag) = words.next() {
        let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--dir" => plan.dir = PathBuf::from(value),
            "--seconds" => plan.span = Duration::try_from_secs_f64(value.parse()?)?,
            "--rounds" => plan.rounds = value.parse::<usize>()?.max(1),
            other => return Err(format!("unknown flag {other}").into()),
        }
    }
    Ok(plan)
}

fn measure() -> Outcome<()> {
    let plan = plan()?;
    // As the command line's own runtime: one thread a core.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rows = match plan.section.as_str() {
        "engine" => runtime.block_on(engine::measure(&plan))?,
        "submission" => runtime.block_on(submission::measure(&plan))?,
        "waiting" => runtime.block_on(waiting::measure(&plan))?,
        "gateway" => runtime.block_on(gateway::measure(&plan))?,
        other => return Err(format!("there is no section `{other}`").into()),
    };
    row::print(&rows)?;
    Ok(())
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
