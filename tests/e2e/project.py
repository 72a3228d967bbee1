"""A project in a temporary folder, and wflo as a user starts it there."""

import json
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = float(os.environ.get("WFLO_E2E_SECONDS", "120"))  # for a hang; not a measure


class Done:
    """A command that has ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def run(self) -> dict:
        """RUN, of `wflo run --json`'s last line."""
        last = self.events[-1]
        assert last["type"] == "run.finished", last
        return last["run"]

    def of(self, event: str, **keys: object) -> list[dict]:
        """The events of a type, with these keys."""
        return [e for e in self.events if e["type"] == event and all(e.get(k) == v for k, v in keys.items())]

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out[-6000:]}\n--- stderr\n{self.err[-3000:]}"


class Running:
    """A `wflo … --json` in the background. Ended with its test, by its id."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid
        self.seen: list[dict] = []
        self._news: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._out, daemon=True),
            threading.Thread(target=self._err, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _out(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._news.put(line)
        self._news.put(None)

    def _err(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._errors.append(line)

    @property
    def err(self) -> str:
        return "".join(self._errors)

    def next(self, seconds: float = DEADLINE) -> dict | None:
        """The next event; none at the end of the output."""
        line = self._news.get(timeout=max(0.01, seconds))
        if line is None:
            self._news.put(None)
            return None
        event = json.loads(line)
        self.seen.append(event)
        return event

    def until(self, wanted: str, **keys: object) -> dict:
        """Reads on to an event of this type and with these keys."""
        deadline = time.monotonic() + DEADLINE
        while (event := self.next(deadline - time.monotonic())) is not None:
            if event["type"] == wanted and all(event.get(k) == v for k, v in keys.items()):
                return event
        raise AssertionError(f"no {wanted} {keys}; exit {self.process.wait()}\n{self.seen}\n{self.err}")

    def finish(self) -> Done:
        """Reads to the end of the output, and waits."""
        while self.next() is not None:
            pass
        code = self.process.wait(DEADLINE)
        for thread in self._threads:
            thread.join(DEADLINE)
        out = "\n".join(json.dumps(event) for event in self.seen)
        return Done(subprocess.CompletedProcess([], code, out, self.err))

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(DEADLINE)
        for thread in self._threads:
            thread.join(DEADLINE)


class Project:
    """A folder with a workflow."""

    def __init__(self, folder: Path, wflo: Path, model: str | None = None) -> None:
        self.folder = folder
        self.wflo = wflo
        self.running: list[Running] = []
        keep = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "USER", "LOGNAME")
        self.environment = {name: os.environ[name] for name in keep if name in os.environ}
        # The tests' own settings; `test_trust.py` takes this away.
        self.environment["WFLO_TRUST"] = "1"
        self.environment["WFLO_PYTHON"] = os.environ.get("WFLO_PYTHON", sys.executable)
        self.settings = '[project]\nname = "e2e"\nworkflow = "workflow.py"\n'
        if model:
            self.use(model)
        self.write_settings()

    def at(self, folder: Path) -> "Project":
        """The same command and environment in another folder, which is left as it is."""
        other = Project.__new__(Project)
        other.__dict__ = {**self.__dict__, "folder": folder, "running": self.running}
        return other

    def git(self, *words: str) -> str:
        """Git in the project, as its owner would run it. Nothing of the machine's own settings counts."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1"}
        names = ("-c", "user.name=a", "-c", "user.email=a@b.example")
        done = subprocess.run(
            ["git", *names, *words], cwd=self.folder, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def use(self, model: str) -> None:
        """Models `m` and `claude-m` at this address, with a price that makes budgets real."""
        self.environment["MODEL_KEY"] = "sk-the-real-key"
        for name, dialect, base in (("m", "openai", f"{model}/v1"), ("claude-m", "anthropic", model)):
            self.settings += textwrap.dedent(f"""
                [providers.{dialect}-here]
                dialect = "{dialect}"
                base_url = "{base}"
                api_key_env = "MODEL_KEY"

                [models."{name}"]
                provider = "{dialect}-here"
                input = "10.00"
                output = "40.00"
                context_tokens = 4096
                max_output_tokens = 2048
            """)

    def write_settings(self, more: str = "") -> None:
        self.settings += textwrap.dedent(more)
        self.write("wflo.toml", self.settings)

    def write(self, name: str, source: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source).lstrip("\n"))
        return path

    def steps(self, source: str) -> None:
        """`workflow.py`: a workflow named `e2e` with these steps."""
        head = "import asyncio, os, sys, time\nfrom wflo import *\nworkflow = Workflow('e2e')\n"
        self.write("workflow.py", head + textwrap.dedent(source).lstrip("\n"))

    def database(self, script: str, name: str = "data.db", key: str = "main") -> Path:
        """A SQLite database, named in wflo.toml."""
        path = self.folder / name
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executescript(script)
        self.write_settings(f'\n[databases.{key}]\nurl = "sqlite:{name}"\n')
        return path

    def rows(self, sql: str, name: str = "data.db") -> list[tuple]:
        with closing(sqlite3.connect(self.folder / name)) as connection:
            return connection.execute(sql).fetchall()

    def rows_change(self, path: Path, sql: str) -> None:
        """What another program does to the database."""
        with closing(sqlite3.connect(path, timeout=DEADLINE)) as connection, connection:
            connection.execute(sql)

    def call(self, *arguments: str, stdin: str | None = None, **env: str) -> Done:
        """`wflo ARGUMENTS`, to its end, without a terminal. Whoever decides about the latest question has read it."""
        if arguments[:3] in (("approvals", "approve", "latest"), ("approvals", "reject", "latest")):
            self.call_unread("approvals", "show", "latest", **env)
        return self.call_unread(*arguments, stdin=stdin, **env)

    def call_unread(self, *arguments: str, stdin: str | None = None, **env: str) -> Done:
        """The same, whether or not anybody has read what is decided."""
        done = subprocess.run(
            [self.wflo, *arguments],
            cwd=self.folder,
            env={**self.environment, **env},
            stdin=subprocess.DEVNULL if stdin is None else None,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        return Done(done)

    def run(self, *arguments: str, **env: str) -> Done:
        return self.call("run", "--json", *arguments, **env)

    def start(self, *arguments: str, wrap: tuple[str, ...] = (), **env: str) -> Running:
        """`wflo ARGUMENTS --json` in the background."""
        return self.begin(*wrap, str(self.wflo), *arguments, "--json", **env)

    def begin(self, *command: str, **env: str) -> Running:
        """A command of wflo, whole, that says what happens as JSON, in the background."""
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running = Running(process)
        self.running.append(running)
        return running

    def show(self, run: str) -> dict:
        """RUN, as another process reads it."""
        done = self.call("runs", "show", run, "--json")
        assert done.code == 0, done
        return json.loads(done.out)

    def events(self, run: str) -> list[dict]:
        done = self.call("runs", "events", run, "--json")
        assert done.code == 0, done
        return done.events

    def processes(self) -> list[str]:
        """Processes that still have to do with this project: by folder, command line or environment."""
        mark = str(self.folder).encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                told = [(entry / name).read_bytes() for name in ("cmdline", "environ", "mountinfo")]
                told.append(os.fsencode(os.readlink(entry / "cwd")))
            except OSError:
                continue
            if any(mark in text for text in told):
                found.append(f"{entry.name}: {told[0].decode(errors='replace')}")
        return found

    def close(self) -> None:
        for running in self.running:
            running.close()


def wait_for(condition: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
    """Until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        threading.Event().wait(0.02)


def question(running: Running) -> dict:
    """The next question, once the run waits for it."""
    asked = running.until("approval.requested")
    running.until("run.waiting")
    return asked


def approve(project: Project, asked: dict) -> None:
    done = project.call("approvals", "approve", asked["approval_id"])
    assert done.code == 0, done
