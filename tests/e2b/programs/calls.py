"""Calls of the stock Python SDKs, each tried on the server that the environment names; a line of JSON for each.

Nothing of the SDKs is imported before a call is tried, so that the names can be read where they are not installed.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

CALLS: dict[str, Callable[[Any], None]] = {}


def call(name: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    def kept(tried: Callable[[Any], None]) -> Callable[[Any], None]:
        CALLS[name] = tried
        return tried

    return kept


class raises:
    """What happens inside raises this, by name."""

    def __init__(self, name: str) -> None:
        self.name, self.error = name, None

    def __enter__(self) -> raises:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> bool:
        assert kind is not None and self.name in [one.__name__ for one in kind.__mro__], (
            f"raised {error!r}, not {self.name}"
        )
        self.error = error
        return True


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)
    return found


# --- sandboxes -----------------------------------------------------------------------------


@call("Sandbox.create: environment, metadata, timeout")
def _(box: Any) -> None:
    with type(box).create(envs={"GREETING": "hi there"}, metadata={"of": "create"}, timeout=60) as own:
        assert own.commands.run("echo $GREETING $HOME $USER").stdout == "hi there /home/user user\n"
        info = own.get_info()
        assert info.metadata == {"of": "create"}
        assert 50 < (info.end_at - info.started_at).total_seconds() < 70


@call("Sandbox.create: one for each idempotency key")
def _(box: Any) -> None:
    one = type(box).create(idempotency_key="the-same-thing", timeout=60)
    two = type(box).create(idempotency_key="the-same-thing", timeout=60)
    assert one.sandbox_id == two.sandbox_id
    one.kill()


@call("Sandbox.create: what cannot be had is refused by name")
def _(box: Any) -> None:
    with raises("SandboxException") as refused:
        type(box).create(network={"allow_out": ["example.org"]})
    assert "WFLO-5294" in str(refused.error)
    with raises("SandboxException") as refused:
        type(box).create(template="of-nobody")
    assert "WFLO-5293" in str(refused.error)


@call("Sandbox.connect")
def _(box: Any) -> None:
    box.files.write("of-connect", "1")
    other = type(box).connect(box.sandbox_id)
    assert other.files.read("of-connect") == "1"


@call("Sandbox.get_info")
def _(box: Any) -> None:
    info = box.get_info()
    assert info.sandbox_id == box.sandbox_id and info.state.value == "running" and info.memory_mb > 0


@call("Sandbox.is_running")
def _(box: Any) -> None:
    assert box.is_running()


@call("Sandbox.list: pages, by metadata and state")
def _(box: Any) -> None:
    from e2b import SandboxQuery, SandboxState

    made = [type(box).create(metadata={"of": "list & more"}, timeout=60) for _ in range(3)]
    query = SandboxQuery(metadata={"of": "list & more"}, state=[SandboxState.RUNNING])
    pages = type(box).list(query=query, limit=2)
    first = pages.next_items()
    assert len(first) == 2 and pages.has_next
    found = {one.sandbox_id for one in first + pages.next_items()}
    assert found == {one.sandbox_id for one in made} and not pages.has_next
    for one in made:
        one.kill()


@call("Sandbox.set_timeout")
def _(box: Any) -> None:
    with type(box).create(timeout=60) as own:
        before = own.get_info().end_at
        own.set_timeout(600)
        assert (own.get_info().end_at - before).total_seconds() > 500


@call("Sandbox: its time ends it")
def _(box: Any) -> None:
    own = type(box).create(timeout=1)
    until(lambda: not own.is_running())
    with raises("SandboxException"):
        own.commands.run("true")


@call("Sandbox.get_metrics")
def _(box: Any) -> None:
    (one,) = box.get_metrics()
    assert one.mem_total > 0 and one.disk_total > 0 and one.cpu_count > 0


@call("Sandbox.pause, Sandbox.connect: programs and files go on")
def _(box: Any) -> None:
    with type(box).create(timeout=60) as own:
        own.commands.run("i=0; while :; do i=$((i+1)); echo $i > count; done", background=True)
        until(lambda: own.files.exists("count") and own.files.read("count"))
        assert own.pause() is True
        assert own.pause() is False
        assert not own.is_running() and own.get_info().state.value == "paused"
        with raises("SandboxException"):
            own.files.read("count")
        own.connect(timeout=60)
        seen = until(lambda: own.files.read("count"))
        until(lambda: own.files.read("count") not in ("", seen))


@call("Sandbox.create: paused when its time is up, woken by a request")
def _(box: Any) -> None:
    lifecycle = {"on_timeout": "pause", "auto_resume": True}
    own = type(box).create(timeout=5, lifecycle=lifecycle)
    until(lambda: own.get_info().state.value == "paused")
    own.files.write("a", "b")
    assert own.get_info().state.value == "running"
    own.kill()


@call("Sandbox.kill")
def _(box: Any) -> None:
    own = type(box).create(timeout=60)
    assert own.kill() is True
    assert own.is_running() is False
    assert own.kill() is False
    with raises("SandboxNotFoundException"):
        own.get_info()


# --- commands ------------------------------------------------------------------------------


@call("commands.run")
def _(box: Any) -> None:
    done = box.commands.run("echo out; echo err >&2")
    assert (done.stdout, done.stderr, done.exit_code, done.error) == ("out\n", "err\n", 0, None)


@call("commands.run: exit code")
def _(box: Any) -> None:
    with raises("CommandExitException") as refused:
        box.commands.run("echo out; exit 3")
    assert (refused.error.exit_code, refused.error.stdout) == (3, "out\n")


@call("commands.run: on_stdout, on_stderr, while it runs")
def _(box: Any) -> None:
    told: list[str] = []
    done = box.commands.run("printf 'ä%.0s' {1..5000}; echo e >&2", on_stdout=told.append, on_stderr=told.append)
    assert done.stdout == "ä" * 5000 and "e\n" in told


@call("commands.run: envs, cwd")
def _(box: Any) -> None:
    assert box.commands.run("echo $A; pwd", envs={"A": "b c"}, cwd="/tmp").stdout == "b c\n/tmp\n"
    with raises("InvalidArgumentException"):
        box.commands.run("true", cwd="/nowhere")


@call("commands.run: user")
def _(box: Any) -> None:
    box.commands.run("true", user="user")
    with raises("InvalidArgumentException") as refused:
        box.commands.run("true", user="root")
    assert "WFLO-5298" in str(refused.error)


@call("commands.run: timeout ends the command")
def _(box: Any) -> None:
    with raises("TimeoutException"):
        box.commands.run("echo $$ > timed; exec sleep 1000", timeout=5)
    pid = box.files.read("timed").strip()
    until(lambda: not box.files.exists(f"/proc/{pid}/cmdline"))


@call("commands.run: background, wait")
def _(box: Any) -> None:
    handle = box.commands.run("read line; echo got $line", background=True, stdin=True)
    box.commands.send_stdin(handle.pid, "it\n")
    assert handle.wait().stdout == "got it\n"


@call("commands.run: background, its children outlive it")
def _(box: Any) -> None:
    assert box.commands.run("sleep 1000 & echo $!").stdout.strip().isdigit()


@call("commands.kill")
def _(box: Any) -> None:
    handle = box.commands.run("sleep 1000", background=True)
    assert handle.kill() is True
    with raises("CommandExitException"):
        handle.wait()
    assert box.commands.kill(handle.pid) is False


@call("commands.send_stdin, close_stdin")
def _(box: Any) -> None:
    handle = box.commands.run("wc -c", background=True, stdin=True)
    box.commands.send_stdin(handle.pid, b"x" * 100_000)
    box.commands.close_stdin(handle.pid)
    assert handle.wait().stdout.strip() == "100000"


@call("commands.stream_input")
def _(box: Any) -> None:
    handle = box.commands.run("head -c 6", background=True, stdin=True)
    box.commands.stream_input(handle.pid, iter(["abc", b"def"]))
    assert handle.wait().stdout == "abcdef"


@call("commands.list")
def _(box: Any) -> None:
    handle = box.commands.run("sleep 1000", background=True, envs={"A": "b"}, cwd="/tmp")
    (found,) = [one for one in box.commands.list() if one.pid == handle.pid]
    assert found.args[-1] == "sleep 1000" and found.cwd == "/tmp" and found.envs == {"A": "b"}
    handle.kill()
    until(lambda: all(one.pid != handle.pid for one in box.commands.list()))


@call("commands.connect")
def _(box: Any) -> None:
    handle = box.commands.run("while [ ! -e go ]; do sleep 0.05; done; echo gone", background=True)
    handle.disconnect()
    other = box.commands.connect(handle.pid)
    box.files.write("go", "")
    assert other.wait().stdout == "gone\n"
    with raises("NotFoundException"):
        box.commands.connect(handle.pid)


@call("commands.run: 20 at once")
def _(box: Any) -> None:
    said: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: said.append(box.commands.run(f"echo {n}").stdout)) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, said)) == list(range(20))


@call("pty.create, send_stdin, resize, kill")
def _(box: Any) -> None:
    from e2b import PtySize

    seen: list[bytes] = []
    handle = box.pty.create(PtySize(rows=30, cols=100), envs={"PS1": "$ "}, timeout=60)
    box.pty.send_stdin(handle.pid, b"tty; stty size\n")
    box.pty.resize(handle.pid, PtySize(rows=40, cols=120))
    box.pty.send_stdin(handle.pid, b"stty size; exit\n")
    handle.wait(on_pty=seen.append)
    text = b"".join(seen).decode()
    assert "/dev/pts/" in text and "40 120" in text, text
    other = box.pty.create(PtySize(rows=24, cols=80), timeout=60)
    assert box.pty.kill(other.pid)


@call("pty.connect")
def _(box: Any) -> None:
    from e2b import PtySize

    handle = box.pty.create(PtySize(rows=24, cols=80), timeout=60)
    handle.disconnect()
    other = box.pty.connect(handle.pid)
    box.pty.send_stdin(handle.pid, b"echo again; exit\n")
    seen: list[bytes] = []
    other.wait(on_pty=seen.append)
    assert b"again" in b"".join(seen)


# --- files ---------------------------------------------------------------------------------


@call("files.write, files.read: text, bytes, stream")
def _(box: Any) -> None:
    written = box.files.write("a/b/c.txt", "grüße")
    assert (written.name, written.path, written.type.value) == ("c.txt", "/home/user/a/b/c.txt", "file")
    assert box.files.read("a/b/c.txt") == "grüße"
    assert bytes(box.files.read("/home/user/a/b/c.txt", format="bytes")) == "grüße".encode()
    box.files.write("large", bytes(range(256)) * 20_000)
    assert b"".join(box.files.read("large", format="stream")) == bytes(range(256)) * 20_000


@call("files.write: streamed, compressed")
def _(box: Any) -> None:
    box.files.write("parts", iter([b"one ", b"two"]))
    assert box.files.read("parts") == "one two"
    box.files.write("small", "z" * 1_000_000, gzip=True)
    assert box.files.get_info("small").size == 1_000_000


@call("files.write_files")
def _(box: Any) -> None:
    written = box.files.write_files([{"path": "many/1", "data": "1"}, {"path": "many/2", "data": b"2"}])
    assert [one.path for one in written] == ["/home/user/many/1", "/home/user/many/2"]
    assert box.files.read("many/2") == "2"


@call("files.write: metadata")
def _(box: Any) -> None:
    assert box.files.write("noted", "", metadata={"of": "somebody"}).metadata == {"of": "somebody"}
    assert box.files.get_info("noted").metadata == {"of": "somebody"}


@call("files.read: what is not there, what is no file")
def _(box: Any) -> None:
    with raises("FileNotFoundException"):
        box.files.read("nowhere")
    with raises("InvalidArgumentException"):
        box.files.read("/tmp")
    box.commands.run("mkfifo pipe")
    with raises("InvalidArgumentException"):
        box.files.read("pipe")


@call("files.list")
def _(box: Any) -> None:
    box.files.write_files([{"path": f"tree/{name}", "data": name} for name in ("b/c/d", "a", "b/e")])
    assert [one.path for one in box.files.list("tree")] == ["/home/user/tree/a", "/home/user/tree/b"]
    deep = [one.name for one in box.files.list("tree", depth=3)]
    assert deep == ["a", "b", "c", "d", "e"]
    with raises("FileNotFoundException"):
        box.files.list("tree/nowhere")
    with raises("InvalidArgumentException"):
        box.files.list("tree/a")


@call("files.exists, files.get_info")
def _(box: Any) -> None:
    box.files.write("here", "12345")
    box.commands.run("ln -sf here there; chmod 640 here")
    assert box.files.exists("here") and not box.files.exists("nowhere")
    info = box.files.get_info("here")
    assert (info.size, info.mode, info.permissions, info.owner) == (5, 0o640, "-rw-r-----", "user")
    link = box.files.get_info("there")
    assert (link.type.value, link.symlink_target) == ("symlink", "here")


@call("files.rename, files.remove, files.make_dir")
def _(box: Any) -> None:
    box.files.write("old", "1")
    assert box.files.rename("old", "new/place").path == "/home/user/new/place"
    assert not box.files.exists("old") and box.files.read("new/place") == "1"
    assert box.files.make_dir("new/folder") is True and box.files.make_dir("new/folder") is False
    box.files.remove("new")
    assert not box.files.exists("new")
    with raises("FileNotFoundException"):
        box.files.rename("nowhere", "anywhere")


@call("files.watch_dir")
def _(box: Any) -> None:
    box.files.make_dir("watched/below")
    handle = box.files.watch_dir("watched", recursive=True, include_entry=True)
    box.files.write("watched/below/a", "1")
    box.files.remove("watched/below/a")
    seen: list[Any] = []

    def all_seen() -> bool:
        seen.extend(handle.get_new_events())
        return {"create", "write", "remove"} <= {one.type.value for one in seen}

    until(all_seen)
    assert {one.name for one in seen} == {"below/a"}
    handle.stop()


@call("download_url, upload_url: signed, for a time")
def _(box: Any) -> None:
    box.files.write("signed file", "secret")
    address = box.download_url("signed file", use_signature_expiration=60)
    assert urllib.request.urlopen(address).read() == b"secret"
    for changed in (address.replace("signed%20file", "other"), address.replace("signature=v1_", "signature=v1_x")):
        with raises("HTTPError") as refused:
            urllib.request.urlopen(changed)
        assert refused.error.code == 401
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="up"\r\n\r\nbrought\r\n--x--\r\n'
    request = urllib.request.Request(box.upload_url("up"), form, {"Content-Type": "multipart/form-data; boundary=x"})
    with raises("HTTPError"):
        urllib.request.urlopen(urllib.request.Request(box.download_url("up"), form))
    assert json.load(urllib.request.urlopen(request))[0]["path"] == "/home/user/up"
    assert box.files.read("up") == "brought"


# --- code ----------------------------------------------------------------------------------


@call("run_code: one namespace, the last expression")
def _(box: Any) -> None:
    box.run_code("x = 41")
    ran = box.run_code("import os\nx += 1\nx")
    assert ran.text == "42" and ran.results[0].is_main_result and ran.error is None
    assert box.run_code("x;").text is None
    assert box.run_code("import asyncio\nawait asyncio.sleep(0, 'awaited')").text == "'awaited'"


@call("run_code: what is printed, while it runs")
def _(box: Any) -> None:
    told: list[str] = []
    code = (
        "import sys, subprocess\nprint('out')\nprint('err', file=sys.stderr)\nsubprocess.run('echo sub', shell=True);"
    )
    ran = box.run_code(code, on_stdout=lambda m: told.append(m.line), on_stderr=lambda m: told.append(m.line))
    assert "".join(ran.logs.stdout) == "out\nsub\n" and "".join(ran.logs.stderr) == "err\n"
    assert "err\n" in told


@call("run_code: errors with their traceback")
def _(box: Any) -> None:
    ran = box.run_code("def f():\n    return 1 / 0\nf()")
    assert (ran.error.name, ran.error.value) == ("ZeroDivisionError", "division by zero")
    assert "return 1 / 0" in ran.error.traceback and "wflo" not in ran.error.traceback
    assert box.run_code("1 +").error.name == "SyntaxError"
    assert box.run_code("raise SystemExit(1)").error.name == "SystemExit"
    assert box.run_code("'still here'").text == "'still here'"


@call("run_code: results in many forms")
def _(box: Any) -> None:
    code = """
class Rich:
    def __repr__(self): return 'rich'
    def _repr_html_(self): return '<b>rich</b>'
    def _repr_markdown_(self): return '**rich**'
    def _repr_svg_(self): return '<svg/>'
    def _repr_png_(self): return b'png'
    def _repr_latex_(self): return '$rich$'
display(Rich())
{'a': [1, 2]}
"""
    first, last = box.run_code(code).results
    assert (first.text, first.html, first.markdown, first.svg) == ("rich", "<b>rich</b>", "**rich**", "<svg/>")
    assert (first.png, first.latex, first.is_main_result) == ("cG5n", "$rich$", False)
    assert last.json == {"a": [1, 2]} and last.is_main_result
    shown = box.run_code("from IPython.display import HTML, display\ndisplay(HTML('<i>'))").results[0]
    assert shown.html == "<i>"


@call("run_code: Matplotlib's pictures and charts")
def _(box: Any) -> None:
    code = """
import matplotlib.pyplot as plt
plt.plot([1, 2, 3], [4, 5, 6], label='line')
plt.title('A title'); plt.xlabel('Time (s)'); plt.ylabel('Speed')
plt.show()
plt.bar(['a', 'b'], [1, 2]); plt.show()
plt.pie([1, 3], labels=['one', 'three']); plt.show()
plt.scatter([1, 2], [3, 4]); plt.show()
plt.boxplot([[1, 2, 3, 4, 20]]); plt.show()
"""
    results = box.run_code(code).results
    assert [one.chart.type.value for one in results] == ["line", "bar", "pie", "scatter", "box_and_whisker"]
    assert all(one.png.startswith("iVBOR") for one in results)
    line, bar, pie = (one.chart for one in results[:3])
    assert (line.title, line.x_label, line.x_unit, line.elements[0].points[2]) == ("A title", "Time (s)", "s", (3, 6))
    assert [(one.label, one.value) for one in bar.elements] == [("a", 1), ("b", 2)]
    assert [(one.label, round(one.angle)) for one in pie.elements] == [("one", 90), ("three", 270)]
    assert results[4].chart.elements[0].median == 3


@call("run_code: envs")
def _(box: Any) -> None:
    assert box.run_code("import os; os.environ['OF_ONE']", envs={"OF_ONE": "cell"}).text == "'cell'"
    assert box.run_code("os.environ.get('OF_ONE', 'gone')").text == "'gone'"


@call("run_code: a timeout stops the code, and its variables stay")
def _(box: Any) -> None:
    box.run_code("kept = 'kept'")
    with raises("TimeoutException"):
        box.run_code("while True: pass", timeout=1)
    assert box.run_code("kept").text == "'kept'"


@call("run_code: a kernel that dies is told, and another begins")
def _(box: Any) -> None:
    assert box.run_code("import os; os._exit(3)").error.name == "KernelDied"
    assert box.run_code("1 + 1").text == "2"


@call("create_code_context, list, restart, remove")
def _(box: Any) -> None:
    box.files.make_dir("elsewhere")
    context = box.create_code_context(cwd="/home/user/elsewhere")
    assert box.run_code("import os; y = 1; os.getcwd()", context=context).text == "'/home/user/elsewhere'"
    assert box.run_code("y").error.name == "NameError"
    assert context.id in [one.id for one in box.list_code_contexts()]
    box.restart_code_context(context)
    assert box.run_code("y", context=context).error.name == "NameError"
    box.remove_code_context(context)
    assert context.id not in [one.id for one in box.list_code_contexts()]
    with raises("NotFoundException"):
        box.run_code("1", context=context)


@call("AsyncSandbox: files, commands, watching, code")
def _(box: Any) -> None:
    import asyncio

    from e2b_code_interpreter import AsyncSandbox

    async def tried() -> None:
        own = await AsyncSandbox.create(timeout=60)
        await own.files.write("a", "b")
        events: list[Any] = []
        watching = await own.files.watch_dir(".", on_event=events.append)
        done = await asyncio.gather(*(own.commands.run(f"echo {n} > of-{n}; cat a") for n in range(5)))
        assert [one.stdout for one in done] == ["b"] * 5
        handle = await own.commands.run("cat", background=True, stdin=True)
        await own.commands.send_stdin(handle.pid, "in")
        await own.commands.close_stdin(handle.pid)
        assert (await handle.wait()).stdout == "in"
        while not {f"of-{n}" for n in range(5)} <= {one.name for one in events}:
            await asyncio.sleep(0.02)
        await watching.stop()
        assert (await own.run_code("6 * 7")).text == "42"
        await own.kill()

    asyncio.run(asyncio.wait_for(tried(), 240))


@call("Sandbox.update_network: fewer hosts, never more")
def _(box: Any) -> None:
    box.update_network({"deny_out": ["0.0.0.0/0"]})
    with raises("SandboxException"):
        box.update_network({"allow_out": ["example.org"]})


def main() -> None:
    from e2b_code_interpreter import Sandbox

    box = Sandbox.create(timeout=3600)
    for name, tried in CALLS.items():
        start = time.monotonic()
        try:
            tried(box)
            error = None
        except Exception:
            error = traceback.format_exc()
        took = round(time.monotonic() - start, 3)
        print(json.dumps({"call": name, "error": error, "seconds": took}), flush=True)
    box.kill()


if __name__ == "__main__":
    sys.exit(main())
