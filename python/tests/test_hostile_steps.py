"""Steps that misbehave: the frames stay whole, and the engine hears the truth."""

from __future__ import annotations

import subprocess
import sys

import pytest


def end(project, body, prefix="def", respond=lambda _: 0.5):
    project.steps(f"import os, sys, threading, time\n@workflow.step\n{prefix} step(context):\n{body}")
    engine = project.start()
    return engine.drive(respond), engine


def test_printing_a_lot_does_not_touch_the_frames(project):
    # The fake engine does not read the pipes: the output goes to a file, as a sandbox would have it.
    body = """
    with open("printed", "w") as file:
        os.dup2(file.fileno(), 1); os.dup2(file.fileno(), 2)
    line = "x" * 100_000
    for _ in range(300):
        print(line); print(line, file=sys.stderr)
    return context.random()
"""
    frame, _ = end(project, body)
    assert frame["output"] == 0.5
    assert (project.folder / "printed").stat().st_size == 600 * 100_001


def test_a_forked_child_cannot_speak_for_the_step(project):
    body = """
    child = os.fork()
    if child == 0:
        try:
            context.random()
        except StepError as error:
            open("child", "w").write(error.code)
        os._exit(0)
    os.waitpid(child, 0)
    return context.random()
"""
    frame, _ = end(project, body)
    assert frame["output"] == 0.5
    assert (project.folder / "child").read_text() == "WFLO-3303"


@pytest.mark.parametrize("leave", ["return 'child'", "raise ValueError", "sys.exit(0)"])
def test_a_forked_child_that_falls_out_of_the_step_is_not_heard(project, leave):
    body = f"""
    child = os.fork()
    if child == 0:
        {leave}
    os.waitpid(child, 0)
    return "parent"
"""
    for prefix in ("def", "async def"):
        frame, _ = end(project, body, prefix)
        assert frame.get("output") == "parent", frame


def test_multiprocessing_works_beside_the_context(project):
    body = """
    import multiprocessing
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return [sum(pool.map(abs, [-1, -2])), context.random()]
"""
    frame, _ = end(project, body)
    assert frame["output"] == [3, 0.5]


def test_children_do_not_inherit_the_socket(project):
    body = """
    import subprocess
    links = subprocess.run([sys.executable, "-c",
        "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') "
        "if os.path.exists(f'/proc/self/fd/{n}') or True and n.isdigit() and int(n) > 2 and False])"],
        capture_output=True, text=True, close_fds=False)
    return links.stdout + links.stderr
"""
    frame, _ = end(project, body)
    assert "socket" not in frame["output"]


def test_closing_every_descriptor_ends_the_step_and_writes_nowhere(project):
    body = """
    os.closerange(3, 65536)
    file = open("mine", "w")
    for _ in range(1100):
        os.dup(file.fileno())
    context.random()
"""
    project.steps(f"import os\n@workflow.step\ndef step(context):\n{body}")
    engine = project.start()
    code, stderr = engine.ended()
    assert code == 70
    assert "closed wflo's descriptor" in stderr
    assert (project.folder / "mine").read_text() == ""


@pytest.mark.parametrize("prefix", ["def", "async def"])
def test_replaced_modules_do_not_matter(project, prefix):
    wait = "await " if prefix == "async def" else ""
    body = f"""
    import json, socket, select, threading
    def broken(*args, **kwargs):
        raise RuntimeError("patched")
    os.write = os.read = os.fstat = os.getpid = json.dumps = json.loads = time.time = time.monotonic = broken
    json.JSONEncoder.encode = json.JSONDecoder.decode = select.poll = broken
    sys.stdout = sys.stderr = None
    return {wait}context.random()
"""
    frame, _ = end(project, body, prefix)
    assert frame.get("output") == 0.5, frame


def test_closed_standard_streams_do_not_matter(project):
    frame, _ = end(project, "    sys.stdout.close(); sys.stderr.close(); os.close(1); os.close(2)\n    return 1\n")
    assert frame["output"] == 1


def test_files_left_open_are_written_before_the_step_is_done(project):
    body = """
    global kept, raw
    kept = open("text", "w"); kept.write("kept")
    raw = open("raw", "wb"); raw.write(b"raw")
    return 1
"""
    frame, _ = end(project, body)
    assert frame["output"] == 1
    assert (project.folder / "text").read_text() == "kept"
    assert (project.folder / "raw").read_text() == "raw"


def test_threads_and_exit_handlers_end_before_the_step_is_done(project):
    body = """
    import atexit
    def late():
        time.sleep(0.2); open("thread", "w").write("done")
    threading.Thread(target=late).start()
    atexit.register(lambda: open("handler", "w").write("done"))
    return 1
"""
    frame, _ = end(project, body)
    assert frame["output"] == 1
    assert (project.folder / "thread").read_text() == "done"
    assert (project.folder / "handler").read_text() == "done"


def test_tasks_left_over_are_cancelled_as_asyncio_run_does(project):
    body = """
    import asyncio
    async def forever():
        try:
            await asyncio.sleep(1000)
        finally:
            open("cancelled", "w").write("done")
    asyncio.create_task(forever())
    await asyncio.sleep(0)
    return 1
"""
    frame, _ = end(project, body, "async def")
    assert frame["output"] == 1
    assert (project.folder / "cancelled").read_text() == "done"


def test_ending_the_process_is_heard_as_a_closed_connection(project):
    project.steps("import os\n@workflow.step\ndef step(context):\n    os._exit(0)\n")
    engine = project.start()
    assert engine.socket.recv(100) == b""


def test_a_context_kept_after_the_step_is_refused(project):
    body = """
    import atexit
    def late():
        time.sleep(0.05)
    global kept
    kept = context
    return 1
"""
    frame, _ = end(project, body)
    assert frame["output"] == 1


def test_a_sync_step_starts_without_asyncio(project):
    frame, _ = end(
        project, '    return sorted(m for m in sys.modules if m in ("asyncio", "json", "typing", "re", "inspect"))\n'
    )
    # `site` of some interpreters imports a few of these by itself.
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(' '.join(sys.modules))"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(frame["output"]) <= set(bare)
