"""What the clients of a session's tests did: each is run once, two at a time, in the order of the tests."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import sandboxed
import standalone
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
        # Of the standalone gateway, which serves all clients.
        self.provider = self.stack.enter_context(Provider())
        (folder / "gateway").mkdir()
        self.gateway = self.stack.enter_context(standalone.Gateway(wflo, folder / "gateway", self.provider))
        self.sandboxed: dict[Client, Future[sandboxed.Outcome]] = {
            client: self.pool.submit(self.in_a_sandbox, client) for client in wanted
        }
        self.standalone: dict[Client, Future[standalone.Outcome]] = {
            client: self.pool.submit(self.at_the_gateway, client) for client in wanted
        }

    def in_a_sandbox(self, client: Client) -> sandboxed.Outcome:
        folder = self.folder / client.id
        folder.mkdir()
        provider = self.stack.enter_context(Provider())
        # What it can do, then a call that does not fit, at which the run ends.
        return sandboxed.run(client, folder, self.wflo, provider, client.work, ("halt-call",))

    def at_the_gateway(self, client: Client) -> standalone.Outcome:
        folder = self.folder / f"{client.id}-standalone"
        folder.mkdir()
        key = self.gateway.key(client.id)
        return standalone.run(client, folder, self.gateway, [*client.work, *client.halt], key)

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)
        self.stack.close()
