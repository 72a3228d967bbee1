"""What a run writes stays in its layer until somebody applies it."""

import fcntl
import os
import time
from pathlib import Path

import pytest
from project import DEADLINE, Project, wait_for
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


def test_what_was_applied_and_edited_since_holds_nothing_up(project: Project) -> None:
    run = written(project)
    assert project.call("apply", run, "kept.txt", "gone.txt").code == 0
    project.write("kept.txt", "edited\n")
    project.write("gone.txt", "back\n")
    done = project.call("apply", run)
    assert done.code == 0 and "kept.txt  was applied before and has been changed here since" in done.err, done
    assert (project.folder / "new.txt").read_text() == "made\n"
    assert [(project.folder / name).read_text() for name in ("kept.txt", "gone.txt")] == ["edited\n", "back\n"]
    done = project.call("apply", run, "kept.txt", "gone.txt")
    assert done.code == 1 and "--force gone.txt --force kept.txt" in done.err, done


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
        # Who looks without a pause leaves it no processor, where another test does so beside it.
        time.sleep(0.001)
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


TWO = """
    @workflow.step
    def write(context):
        for name in ("a.txt", "b.txt"):
            (context.workspace / name).write_text("of the run\\n")
"""


def fates(project: Project, run: str) -> list[tuple]:
    events = [event for event in project.events(run) if event["type"] == "workspace.applied"]
    return [(event["files"], event.get("discarded", False), event.get("which")) for event in events]


def test_what_is_left_is_told_by_path_and_not_by_number(project: Project) -> None:
    for name in ("a.txt", "b.txt"):
        project.write(name, "as it was\n")
    project.steps(TWO)
    run = project.run().run["id"]
    # The same file twice is one of the two.
    for _ in range(2):
        assert project.call("apply", run, "a.txt").code == 0
        project.write("a.txt", "as it was\n")
    assert fates(project, run) == [(1, False, [[0, 1]])] * 2
    # Neither as it was nor as the run has it, and never written.
    project.write("b.txt", "of somebody else\n")
    shown = project.call("runs", "show", run)
    assert "in the project: 0 of 2 files" in shown.out, shown
    kept = project.call("snapshots", "prune", "--older-than", "0s")
    assert "1 file neither applied nor discarded" in kept.err, kept
    assert project.call("snapshots", "show", run).code == 0
    gone = project.call("discard", run)
    assert gone.code == 0 and "Discarded 2 files" in gone.out, gone
    assert fates(project, run)[2][:2] == (2, True)


@pytest.mark.parametrize("order", [("apply", "discard"), ("discard", "apply")])
def test_of_two_that_decide_at_once_the_record_says_what_became_of_the_files(
    project: Project, tmp_path: Path, order: tuple[str, str]
) -> None:
    written(project)
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    run = project.run(**state).run["id"]
    (folder,) = (tmp_path / "state").glob("wflo/**/apply/*")
    with open(folder / "deciding", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        inode = os.fstat(lock.fileno()).st_ino

        def waiting() -> int:
            return sum(" -> " in line and f":{inode} " in line for line in Path("/proc/locks").open())

        both = []
        for at, verb in enumerate(order, 1):
            both.append(project.start(verb, run, **state))
            wait_for(lambda at=at: waiting() == at, f"{verb} waits for its turn")
    ends = [running.finish() for running in both]
    there = (project.folder / "new.txt").exists()
    applied = [fate for fate in fates(project, run) if not fate[1]]
    discarded = [fate for fate in fates(project, run) if fate[1]]
    assert (len(applied) == 1) == there, (fates(project, run), ends)
    assert len(applied) + len(discarded) == 1, (fates(project, run), ends)
    assert sorted(end.code for end in ends) == [0, 1], ends


def test_half_of_what_is_applied_is_not_discarded(project: Project) -> None:
    run = half_applied(project)
    refused = project.call("discard", run)
    assert refused.code == 1 and "WFLO-5109" in refused.err, refused
    assert fates(project, run) == []
    assert project.call("apply", "--undo").code == 0
    assert project.call("discard", run).code == 0


ATTRIBUTES = """
    @workflow.step
    def first(context):
        os.mkdir("made")
        for path in ("made", "new.txt", "kept.txt"):
            if path == "new.txt":
                (context.workspace / path).write_text("made\\n")
            os.setxattr(path, "user.tag", b"of the run")
        os.removexattr("bare.txt", "user.mine")

    @workflow.step
    def second(context):
        with open("new.txt", "a") as file:
            file.write("more\\n")
        seen = ("made", "new.txt", "kept.txt", "bare.txt", "data.txt")
        return {path: {n: os.getxattr(path, n).decode() for n in os.listxattr(path)} for path in seen}
"""


@pytest.mark.parametrize("backend", ["native", "none"])
def test_extended_attributes_go_from_step_to_step_and_into_the_project(project: Project, backend: str) -> None:
    for name in ("kept.txt", "bare.txt", "data.txt"):
        place = project.write(name, f"{name}\n")
        try:
            os.setxattr(place, "user.mine", b"1")
        except OSError:
            pytest.skip("the file system of the tests has no attributes for users")
    project.steps(ATTRIBUTES)
    done = project.run(*(("--sandbox", "none") if backend == "none" else ()))
    assert done.code == 0, done
    mine, tag = {"user.mine": "1"}, {"user.tag": "of the run"}
    wanted = {"made": tag, "new.txt": tag, "kept.txt": mine | tag, "bare.txt": {}, "data.txt": mine}
    assert done.run["outputs"]["second"] == wanted, done
    run = done.run["id"]
    shown = project.call("diff", run)
    assert 'attribute user.tag (none) -> "of the run"' in shown.out, shown
    assert 'attribute user.mine "1" -> (none)' in shown.out, shown
    assert project.call("snapshots", "restore", run, "--to", "../out").code == 0
    assert project.call("apply", run).code == 0
    for root in (project.folder, project.folder.parent / "out"):
        found = {path: {n: os.getxattr(root / path, n).decode() for n in os.listxattr(root / path)} for path in wanted}
        assert found == wanted, root
