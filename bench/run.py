"""Speed, each figure beside a floor or a peer that was measured in the same run.

    make bench
    python bench/run.py [--only SECTION,…] [--rounds N] [--seconds S] [--dir FOLDER] [--json FILE]

Builds the measuring programs in the release profile, runs the installed `wflo`, and prints one table
as text, and the same as JSON into a file. Nothing here asserts a time: on a busy machine the figures
are bad and the ratios are what to look at; the load average stands beside each section.
Standard library only.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import sandboxes

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve() / "release"

STEP = """
@workflow.step(depends_on=[{before}])
{kind}def step_{n}(context):
    {body}
"""
# A step that lasts: when it began, and for how long.
LASTS = "begun = time.time(); time.sleep(0.15); return [begun, time.time() - begun]"


class Bench:
    """What the sections share."""

    def __init__(self, options):
        self.rounds = options.rounds
        self.seconds = options.seconds
        self.dir = options.dir
        self.wflo = options.wflo
        self.target = TARGET
        self.rows = []

    def row(self, section, what, unit, values, beside=None, floor=None, wanted=None, note=None):
        value = statistics.median(values)
        ratio = value / floor if floor else None
        self.rows.append(
            {"section": section, "what": what, "unit": unit, "value": value, "low": min(values), "high": max(values)}
            | {"rounds": len(values), "beside": beside, "floor": floor, "ratio": ratio, "wanted": wanted, "note": note}
        )

    def skip(self, section, what, why):
        print(f"skipped: {section}: {what}: {why}", file=sys.stderr)
        self.rows.append({"section": section, "what": what, "value": None, "note": f"skipped: {why}"})

    def inside(self, section):
        """A section that `wflo-bench` measures from inside."""
        command = [TARGET / "wflo-bench", section, "--dir", self.dir]
        command += ["--seconds", str(self.seconds), "--rounds", str(self.rounds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        self.rows += [json.loads(line) for line in done.stdout.splitlines()]

    def spawn(self, count, *words, **options):
        """The p50, in microseconds, of a sandbox's create-to-exit in a loop; behind `--`, of a command's without one."""
        return self.p50(self.target / "examples" / "spawn", count, *words, **options)

    def p50(self, *command, **options):
        """What a measuring program says of itself."""
        words = [str(word) for word in command]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, **options)
        return float(done.stdout.splitlines()[-1].split("p50 ")[1].split()[0])

    def in_turns(self, **measures):
        """Each measure once a round, so that a machine that changes its pace changes it for all."""
        taken = {name: [] for name in measures}
        for _ in range(self.rounds):
            for name, measure in measures.items():
                taken[name].append(measure())
        return taken


def engine(bench):
    bench.inside("engine")


def submission(bench):
    bench.inside("submission")


def memory(bench):
    bench.inside("waiting")


def gateway(bench):
    bench.inside("gateway")


def snapshots(bench):
    program = TARGET / "examples" / "snapshots"
    done = subprocess.run([program, bench.dir, str(bench.rounds)], stdout=subprocess.PIPE, text=True, check=True)
    taken = json.loads(done.stdout)
    floor = {name: statistics.median(taken[name]) for name in ("changed_floor", "large_floor", "copy_floor")}
    row = partial(bench.row, "snapshots")
    row("seal of 500 MB in 5,000 files, the first", "us", taken["seal"])
    row("snapshot, 1 % of it changed", "us", taken["changed"], "hash, copy, flush", floor["changed_floor"], "< 150 ms")
    row("back to before a step", "us", taken["back"], wanted="< 20 ms")
    row("restore of it", "us", taken["restore"], "cp -a, flush", floor["copy_floor"])
    row("snapshot of one file of 500 MB, 1 % changed", "us", taken["large"], "what chunks need", floor["large_floor"])


def steps(bench, project, env):
    """When each step succeeded, in seconds, and what it returned."""
    command = [bench.wflo, "run", "workflow.py", "--json"]
    printed = subprocess.run(command, cwd=project, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = map(json.loads, printed.splitlines())
    ends = [line for line in lines if line.get("type") == "step.succeeded"]
    return [(datetime.datetime.fromisoformat(cut_to_micros(e["time"])).timestamp(), e["output"]) for e in ends]


def step_times(bench, project, env):
    """The whole time of each step but the first, from one success to the next, in microseconds."""
    ends = [end for end, _ in steps(bench, project, env)]
    return [(after - before) * 1e6 for before, after in itertools.pairwise(ends)]


def warm_times(bench, project, env):
    """Of each step but the first two, in microseconds: from its turn to its first line, and all but its own work."""
    taken = steps(bench, project, env)[1:]
    pairs = [(before, end, *own) for (before, _), (end, own) in itertools.pairwise(taken)]
    first_line = [(begun - before) * 1e6 for before, _, begun, _ in pairs]
    return first_line, [(end - before - lasted) * 1e6 for before, end, _, lasted in pairs]


def cut_to_micros(time):
    """`fromisoformat` of Python 3.10 reads six digits of a second, no more and no `Z`."""
    whole, _, rest = time.rstrip("Z").partition(".")
    return f"{whole}.{rest[:6]:0<6}+00:00"


def project(bench, name, kind, body="return 1"):
    folder = Path(tempfile.mkdtemp(prefix=name, dir=bench.dir))
    names = [None, *[f'"step_{n}"' for n in range(10)]]
    steps = [STEP.format(before=names[n] or "", kind=kind, n=n, body=body) for n in range(11)]
    head = 'import time\n\nfrom wflo import Workflow\n\nworkflow = Workflow("bench")\n'
    (folder / "workflow.py").write_text(head + "".join(steps))
    (folder / "wflo.toml").write_text('[project]\nname = "bench"\nworkflow = "workflow.py"\n')
    return folder


def python(bench):
    env = os.environ | {"WFLO_PYTHON": sys.executable}

    def code(text):
        return bench.spawn(30, "--", sys.executable, "-c", text)

    projects = {}
    for kind, word in [("sync", ""), ("async", "async ")]:
        projects[kind] = project(bench, "bench-", word)
        projects[f"warm {kind}"] = project(bench, "bench-", word, LASTS)

    def step(kind):
        return statistics.median(step_times(bench, projects[kind], env))

    def warm(kind):
        return [statistics.median(times) for times in warm_times(bench, projects[f"warm {kind}"], env)]

    try:
        taken = bench.in_turns(
            bare=lambda: code("pass"),
            asyncio=lambda: code("import asyncio"),
            sdk=lambda: code("import wflo"),
            sync=lambda: step("sync"),
            async_=lambda: step("async"),
            floor=lambda: bench.p50(TARGET / "examples" / "floor", 200),
            warm_sync=lambda: warm("sync"),
            warm_async=lambda: warm("async"),
        )
    except subprocess.CalledProcessError as error:
        return bench.skip("python", "steps", f"exit {error.returncode} of {Path(error.cmd[0]).name}")
    finally:
        for folder in projects.values():
            shutil.rmtree(folder)
    bare, asyncio = statistics.median(taken["bare"]), statistics.median(taken["asyncio"])

    def added(name, to):
        return [value - to for value in taken[name]]

    bench.row("python", "bare `python -c pass`: p50", "us", taken["bare"])
    bench.row("python", "bare `import asyncio` adds", "us", added("asyncio", bare))
    bench.row("python", "whole sync step: p50", "us", taken["sync"], "bare", bare)
    bench.row("python", "sync step over bare", "us", added("sync", bare), wanted="<= 45000 us")
    bench.row("python", "whole async step: p50", "us", taken["async_"], "bare + asyncio", asyncio)
    bench.row("python", "async step over bare + asyncio", "us", added("async_", asyncio), wanted="<= 45000 us")
    floor = statistics.median(taken["floor"])
    bench.row("python", "bare floor of a sandbox, `/bin/true`: p50", "us", taken["floor"])
    for kind in ("sync", "async"):
        first_line, whole = zip(*taken[f"warm_{kind}"], strict=True)
        bench.row("python", f"warm {kind} step, its turn to its first line: p50", "us", first_line, "bare floor", floor)
        wanted = f"< {floor + 5000:.0f} us"
        bench.row("python", f"warm {kind} step but its own work: p50", "us", whole, "bare floor", floor, wanted)
    bench.row("python", "`import wflo` adds", "us", added("sdk", bare), wanted="< 25000 us")
    return None


def cli(bench):
    folder = project(bench, "bench-", "")
    env = os.environ | {"WFLO_PYTHON": sys.executable}
    try:
        subprocess.run([bench.wflo, "run", "--json"], cwd=folder, env=env, stdout=subprocess.DEVNULL, check=True)
        for words, what in [(["--version"], ""), (["runs", "list"], ", a project with one run")]:
            command = [bench.wflo, *words]
            measures = {
                "bare": lambda: bench.spawn(100, "--", "/bin/true"),
                "wflo": lambda command=command: bench.spawn(50, "--", *command, cwd=folder, env=env),
            }
            shown = f"wflo {' '.join(words)}{what}"
            try:
                taken = bench.in_turns(**measures)
            except subprocess.CalledProcessError:
                bench.skip("cli", shown, "the command failed")
                continue
            bare = statistics.median(taken["bare"])
            bench.row("cli", f"{shown}: p50", "us", taken["wflo"], "/bin/true", bare, "< 15000 us")
    finally:
        shutil.rmtree(folder)
    size = Path(os.path.realpath(bench.wflo)).stat().st_size / 2**20
    bench.row("cli", "size of the release binary", "MiB", [size], wanted="< 40 MB")


ALL = (engine, submission, memory, gateway, sandboxes.sandbox, sandboxes.work, snapshots, python, cli)
SECTIONS = {section.__name__: section for section in ALL}


def number(value, unit):
    if value is None:
        return "-"
    if unit == "us" and abs(value) >= 10_000:
        return f"{value / 1000:.1f} ms"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{unit if unit.startswith('/') else ' ' + unit if unit else ''}"


def print_table(rows):
    header = ("section", "what", "median", "range", "beside", "ratio", "wanted")
    lines = []
    for row in rows:
        unit, value = row.get("unit", ""), row["value"]
        spread = (
            "" if value is None or row["rounds"] < 2 else f"{number(row['low'], unit)} … {number(row['high'], unit)}"
        )
        beside = f"{row['beside']} {number(row['floor'], unit)}" if row.get("floor") else ""
        ratio = f"{row['ratio']:.2f} x" if row.get("ratio") is not None else ""
        shown = number(value, unit) if value is not None else row["note"]
        lines.append((row["section"], row["what"], shown, spread, beside, ratio, row.get("wanted") or ""))
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    for line in [header, tuple("-" * width for width in widths), *lines]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
    notes = {f"{row['what']}: {row['note']}" for row in rows if row.get("note") and row["value"] is not None}
    for note in sorted(notes):
        print(f"  {note}")


def build():
    cargo = ["cargo", "build", "--release", "--locked", "--quiet"]
    subprocess.run([*cargo, "-p", "wflo-bench"], cwd=ROOT, check=True)
    subprocess.run([*cargo, "-p", "wflo-sandbox", "--bins", "--examples"], cwd=ROOT, check=True)


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"sections: {', '.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each figure is taken (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each rate is measured in a round (2)")
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="a folder on the disk that is measured")
    parser.add_argument(
        "--json", default=str(ROOT / "bench" / "results" / "latest.json"), help="where the rows are written"
    )
    parser.add_argument("--wflo", default=shutil.which("wflo"), help="the release binary (the one on PATH)")
    parser.add_argument("--no-build", action="store_true", help="use what is built already")
    return parser.parse_args()


def main():
    given = options()
    if given.wflo is None:
        sys.exit("error: there is no wflo on PATH\nhint: run `make bench`, or name one with --wflo")
    given.wflo = os.path.abspath(given.wflo)
    if not given.no_build:
        build()
    bench, loads = Bench(given), {}
    for name in given.only.split(","):
        before = os.getloadavg()[0]
        SECTIONS[name](bench)
        loads[name] = {"before": before, "after": os.getloadavg()[0]}
        print(f"{name}: load average {before:.2f} before, {loads[name]['after']:.2f} after", file=sys.stderr)
    machine = {"cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
    when = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    document = {"at": when, "machine": machine, "load_average": loads, "rows": bench.rows}
    Path(given.json).parent.mkdir(parents=True, exist_ok=True)
    Path(given.json).write_text(json.dumps(document, indent=1) + "\n")
    print(
        f"{when}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}; median of {given.rounds}"
    )
    for name, load in loads.items():
        print(f"  load average, {name}: {load['before']:.2f} -> {load['after']:.2f}")
    print_table(bench.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
