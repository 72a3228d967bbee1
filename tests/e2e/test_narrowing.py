"""What code says of its own sandbox can only make it narrower: code is not trusted."""

import pytest
from project import Project


def asks(project: Project, configure: str, body: str) -> None:
    project.steps(f"""
        {configure}

        @workflow.step
        def look(context):
            {body}
    """)


def test_a_lower_limit_counts_and_a_higher_one_does_not(project: Project) -> None:
    project.write_settings('\n[sandbox]\ndisk_limit = "8m"\n')
    fill = "open('/tmp/x', 'wb').write(bytes(16 << 20))"
    asks(project, "workflow.configure_sandbox(disk_limit='1g')", fill)
    assert project.run().code == 1, "16 MiB do not fit into the settings' 8"
    asks(project, "workflow.configure_sandbox(disk_limit='1m')", fill.replace("16 <<", "4 <<"))
    assert project.run().code == 1, "4 MiB do not fit into the workflow's 1"
    asks(project, "", fill.replace("16 <<", "4 <<"))
    assert project.run().code == 0


def test_files_have_a_limit_of_their_own_which_code_lowers(project: Project) -> None:
    project.write_settings("\n[sandbox]\ninodes_limit = 2000\n")
    make = "return [open(f'/tmp/{n}', 'w').close() for n in range(1000)][0]"
    asks(project, "workflow.configure_sandbox(inodes_limit=100000)", make.replace("1000", "3000"))
    assert project.run().code == 1, "3,000 files are more than the settings' 2,000"
    asks(project, "workflow.configure_sandbox(inodes_limit=500)", make)
    done = project.run()
    assert done.code == 1 and "No space left" in done.out, done
    asks(project, "", make)
    assert project.run().code == 0


def test_a_step_has_limits_where_nobody_set_one(project: Project) -> None:
    asks(project, "", "return len(bytearray(3 << 30))")
    done = project.run()
    assert done.code == 1, done
    assert done.run["error"]["code"] in ("WFLO-3007", "MemoryError"), done.run["error"]


def test_variables_of_the_host_are_the_settings_to_give(project: Project) -> None:
    asks(project, "workflow.configure_sandbox(env=['E2E_SECRET'])", "return os.environ.get('E2E_SECRET')")
    refused = project.run(E2E_SECRET="s3cret")
    assert refused.code == 2 and "WFLO-1014" in refused.err + refused.out, refused
    project.write_settings('\n[sandbox]\nenv = ["E2E_SECRET"]\n')
    given = project.run(E2E_SECRET="s3cret")
    assert given.code == 0 and given.run["outputs"]["look"] == "s3cret", given


@pytest.mark.parametrize("name", ["MODEL_KEY", "OPENAI_API_KEY"])
def test_a_providers_key_is_not_even_the_settings_to_give(project: Project, name: str) -> None:
    asks(project, "", "return 1")
    project.write_settings(f'\n[sandbox]\nenv = ["{name}"]\n')
    refused = project.run()
    assert refused.code == 2 and name in refused.err + refused.out, refused
    assert "sk-the-real-key" not in refused.err + refused.out


def test_a_pending_wait_buys_no_time(project: Project) -> None:
    project.steps("""
        @workflow.step(timeout_seconds=1)
        async def computes(context):
            waiting = asyncio.create_task(context.sleep(100_000))
            await asyncio.sleep(0.1)
            until = time.monotonic() + 60
            while time.monotonic() < until:
                pass
            waiting.cancel()
    """)
    done = project.run()
    assert done.code == 5 and done.run["error"]["code"] == "WFLO-3002", done


def test_a_step_that_only_waits_has_all_its_time(project: Project) -> None:
    project.steps("""
        @workflow.step(timeout_seconds=6)
        async def waits(context):
            await context.sleep(7)
            return "rested"
    """)
    done = project.run()
    assert done.code == 0 and done.run["outputs"]["waits"] == "rested", done
