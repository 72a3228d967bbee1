"""Journaled tools: on resume their results and their files come back, and they do not run again."""

import signal

import pytest
from model import MockModel
from project import Project, Running

SEQUENCE = """
    from pathlib import Path

    @workflow.step
    async def build(context):
        work = context.workspace
        (work / "mine.txt").write_text("written by the step\\n")
        made = await context.tools.run(["sh", "-c", TOOL])
        listed = sorted(str(p.relative_to(work)) for p in work.glob("out/**/*"))
        said = (work / "out/made.txt").read_text()
        with (work / "mine.txt").open("a") as more:
            more.write(said)
        kept = (work / "old.txt").exists()
        link = os.readlink(work / "out/link")
        age = (work / "out/made.txt").stat().st_mtime_ns
        mode = oct((work / "out/run.sh").stat().st_mode & 0o777)
        await context.random()
        if context.resumes == 0:
            time.sleep(3600)
        return {
            "stdout": made.stdout, "listed": listed, "said": said, "mine": (work / "mine.txt").read_text(),
            "kept": kept, "link": link, "mode": mode, "recorded": made.stdout.strip() == str(age),
        }

    TOOL = '''
        set -e
        test ! -e out
        mkdir -p out/deep
        cat /proc/sys/kernel/random/uuid > out/made.txt
        cat mine.txt >> out/made.txt
        ln -s made.txt out/link
        echo 'echo hi' > out/run.sh; chmod 750 out/run.sh
        head -c 3000000 /dev/zero | tr '\\\\0' x > out/deep/large.bin
        rm old.txt
        python3 -c "import os; print(os.stat('out/made.txt').st_mtime_ns)"
    '''
"""


def kill(running: Running) -> str:
    run = running.until("effect.finished", kind="random")["run_id"]
    running.kill()
    assert running.process.wait() == -signal.SIGKILL
    return run


def test_what_a_tool_wrote_and_removed_comes_back(project: Project, model: MockModel) -> None:
    project.write("old.txt", "old\n")
    project.steps(SEQUENCE)
    run = kill(project.start("run"))
    done = project.call("runs", "resume", run, "--json")
    assert done.code == 0, done
    out = done.run["outputs"]["build"]
    assert out["listed"] == ["out/deep", "out/deep/large.bin", "out/link", "out/made.txt", "out/run.sh"]
    assert out["said"].endswith("written by the step\n")
    assert out["mine"] == "written by the step\n" + out["said"], "the step's own writes are made once"
    assert (out["kept"], out["link"], out["mode"]) == (False, "made.txt", "0o750")
    assert out["recorded"], "a file is as old as it was"
    # The run's own layer holds what came back.
    assert project.call("apply", run, ".", "--yes").code == 0
    assert (project.folder / "out/made.txt").read_text() == out["said"]
    assert (project.folder / "out/deep/large.bin").stat().st_size == 3_000_000
    assert not (project.folder / "old.txt").exists()


def test_tools_of_parallel_branches_come_back_each_at_its_place(project: Project, model: MockModel) -> None:
    project.steps("""
        @workflow.step
        async def build(context):
            async def one(n):
                await context.tools.run(["sh", "-c", f"cat /proc/sys/kernel/random/uuid > made-{n}"])
                mine = (context.workspace / f"made-{n}").read_text()
                (context.workspace / f"copy-{n}").write_text(mine)
                await context.tools.run(["sh", "-c", f"cat copy-{n} made-{n} > twice-{n}"])
                return mine, (context.workspace / f"twice-{n}").read_text()
            both = await asyncio.gather(*(one(n) for n in range(4)))
            await context.random()
            if context.resumes == 0:
                time.sleep(3600)
            return both
    """)
    run = kill(project.start("run"))
    done = project.call("runs", "resume", run, "--json")
    assert done.code == 0, done
    both = done.run["outputs"]["build"]
    assert len({mine for mine, _ in both}) == 4
    assert all(twice == mine + mine for mine, twice in both), both


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_tool_is_not_run_again(project: Project, model: MockModel, kind: str) -> None:
    wait = "await " if kind == "async def" else ""
    project.steps(f"""
        @workflow.step
        {kind} count(context):
            said = []
            for n in range(3):
                {wait}context.tools.run(["sh", "-c", "cat /proc/sys/kernel/random/uuid >> log.txt"])
                said.append((context.workspace / "log.txt").read_text())
            {wait}context.random()
            if context.resumes == 0:
                time.sleep(3600)
            return said
    """)
    run = kill(project.start("run"))
    done = project.call("runs", "resume", run, "--json")
    assert done.code == 0, done
    said = done.run["outputs"]["count"]
    assert [len(text.splitlines()) for text in said] == [1, 2, 3]
    assert said[2].startswith(said[1]) and said[1].startswith(said[0])


def test_a_file_that_other_code_wrote_meanwhile_is_refused_by_name(project: Project, model: MockModel) -> None:
    gate = project.folder.parent / "gate"
    gate.mkdir()
    project.write_settings(f'\n[sandbox]\nrw = ["{gate}:/gate"]\n')
    project.steps("""
        @workflow.step
        async def clash(context):
            tool = asyncio.create_task(context.tools.run(
                ["sh", "-c", "touch /gate/begun; while test ! -e shared.txt; do sleep 0.01; done; echo ok"]))
            await context.sleep(0.01)
            while not os.path.exists("/gate/begun"):
                await asyncio.sleep(0.01)
            # What it writes differs each time, and the tool waits for it.
            (context.workspace / "shared.txt").write_text(os.urandom(8).hex())
            await tool
            await context.random()
            if context.resumes == 0:
                time.sleep(3600)
    """)
    run = kill(project.start("run"))
    done = project.call("runs", "resume", run, "--json")
    assert done.code == 1, done
    assert done.run["error"]["code"] == "WFLO-3026", done
    assert "shared.txt" in done.run["error"]["message"], done
