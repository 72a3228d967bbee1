"""What a run writes stays in its layer until somebody applies it."""

from project import Project

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
