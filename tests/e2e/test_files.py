"""What a run writes stays in its layer until somebody applies it."""

import os
import time

from project import DEADLINE, Project
from terminal import Terminal

WRITES = """
    @workflow.step
    def write(context):
        (context.workspace / "new.txt").write_text("made\\n")
        (context.workspace / "kept.txt").write_text("changed\\n")
        (context.workspace / "gone.txt").unlink()
"""


def written(project: Project) -> str:
    project.write("kept.txt", "as it was\n")
    project.write("gone.txt", "not for long\n")
    project.steps(WRITES)
    done = project.run()
    assert done.code == 0, done
    return done.run["id"]


def test_diff_shows_and_apply_writes(project: Project) -> None:
    run = written(project)
    assert (project.folder / "kept.txt").read_text() == "as it was\n"
    shown = project.call("diff", run)
    assert shown.code == 0 and "new.txt" in shown.out and "+changed" in shown.out, shown
    done = project.call("apply", run)
    assert done.code == 0, done
    assert (project.folder / "new.txt").read_text() == "made\n"
    assert (project.folder / "kept.txt").read_text() == "changed\n"
    assert not (project.folder / "gone.txt").exists()


def test_apply_refuses_what_changed_meanwhile(project: Project) -> None:
    run = written(project)
    project.write("kept.txt", "changed by somebody else\n")
    done = project.call("apply", run)
    assert done.code == 1, done
    assert (project.folder / "kept.txt").read_text() == "changed by somebody else\n"
    assert not (project.folder / "new.txt").exists()


def test_discard_throws_it_away(project: Project) -> None:
    run = written(project)
    assert project.call("discard", run).code == 0
    assert not (project.folder / "new.txt").exists()


MANY = """
    @workflow.step
    def write(context):
        for n in range(3000):
            (context.workspace / f"made-{n}.txt").write_text("made")
"""


def half_applied(project: Project) -> str:
    """A run of 3,000 files whose apply was killed in its middle."""
    project.steps(MANY)
    done = project.run()
    assert done.code == 0, done
    run = done.run["id"]

    def made() -> int:
        return len(list(project.folder.glob("made-*.txt")))

    # It yields to whoever else wants the processor: the kill does not come when all of it is done.
    applying = project.start("apply", run, wrap=("chrt", "--idle", "0"))
    deadline = time.monotonic() + DEADLINE
    while not any(entry.name.startswith("made-") for entry in os.scandir(project.folder)):
        assert time.monotonic() < deadline and applying.process.poll() is None, applying.err
    applying.kill()
    applying.finish()
    assert 0 < made() < 3000
    return run


def test_nothing_is_sealed_on_half_of_a_runs_changes(project: Project) -> None:
    half_applied(project)
    refused = project.call("run")
    assert refused.code == 1 and "WFLO-5109" in refused.err and "wflo apply --resume" in refused.err, refused
    assert project.call("apply", "--undo").code == 0
    assert not list(project.folder.glob("made-*.txt"))
    assert project.run().code == 0


def test_a_finished_apply_is_recorded_with_its_run(project: Project) -> None:
    run = half_applied(project)
    assert project.call("apply", "--resume").code == 0
    applied = [event for event in project.events(run) if event["type"] == "workspace.applied"]
    assert [(event["files"], event.get("discarded", False)) for event in applied] == [(3000, False)]
    refused = project.call("discard", run)
    assert refused.code == 1 and "WFLO-5122" in refused.err, refused


def test_what_was_applied_at_the_prompt_of_discard_is_not_discarded(project: Project) -> None:
    run = written(project)
    with Terminal(project, "discard", run) as terminal:
        terminal.until("[y/N]")
        assert project.call("apply", run).code == 0
        terminal.type("y")
        terminal.until("WFLO-5122")
        assert terminal.end() == 1
    applied = [event for event in project.events(run) if event["type"] == "workspace.applied"]
    assert [event.get("discarded", False) for event in applied] == [False]
