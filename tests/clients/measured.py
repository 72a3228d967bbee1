"""What the clients of a session's tests did: each is run once, two at a time, in the order of the tests."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import sandboxed
from clients import Client
from environments import folder_of
from provider import Provider


class Measured:
    """The outcomes, which the first to ask for one waits for."""

    def __init__(self, wflo: Path, folder: Path, wanted: list[Client]) -> None:
        self.wflo = wflo
        self.folder = folder
        self.stack = ExitStack()
        self.pool = ThreadPoolExecutor(max_workers=2)
        for place in dict.fromkeys(client.place for client in wanted):
            folder_of(place)
        self.sandboxed: dict[Client, Future[sandboxed.Outcome]] = {
            client: self.pool.submit(self.in_a_sandbox, client) for client in wanted
        }

    def in_a_sandbox(self, client: Client) -> sandboxed.Outcome:
        folder = self.folder / client.id
        folder.mkdir()
        provider = self.stack.enter_context(Provider())
        # What it can do, then a call that does not fit, at which the run ends.
        return sandboxed.run(client, folder, self.wflo, provider, client.work, ("halt-call",))

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)
        self.stack.close()
