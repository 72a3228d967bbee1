"""The table of what was measured, and the page of the reference that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import standalone
from clients import CLIENTS, HALT, WORK

if TYPE_CHECKING:
    from measured import Measured
    from sandboxed import Outcome

HEAD = [
    "client", "version", "call", "tool loop", "stream", "other endpoints", "broken stream", "resume", "halt", "attempts",
]  # fmt: skip
PAGE = """\
# Clients

<!-- Measured and written by `make clients-table`; `make test-clients` holds it to what is measured. -->

Each of these is used unchanged, as its maker documents it: in a step of `wflo run`, where what configures it is the
variables that a step has ([the gateway](gateway.md#variables-that-clients-get)) and nothing else; and before
[`wflo gateway`](../guides/gateway.md), at its one address. The provider behind is a server of the tests that answers and
bills as the makers document it. A case is ok only if it is so in both places.

{table}

| column | what is done | what is asked |
|---|---|---|
| call | one question | the answer, whole, and its usage |
| tool loop | the client runs the function that the model calls, and goes on | the answer that follows from the function's |
| stream | the answer in pieces, some of which end in the middle of a character | the same text |
| other endpoints | embeddings, lists of models, token counts, reranking: what the client has; an overloaded provider (503), which the client asks again | an answer of the right shape; the call is paid once |
| broken stream | the provider's connection closes in the middle of an answer | an error, never a short text |
| resume | the run waits for a person, which ends the sandbox, and goes on in a new one: the program runs from its start | every call is answered from the journal, the broken one included; none is sent or paid again |
| halt | a call whose upper bound no budget fits | the run ends `halted`, and the provider has seen nothing of it |
| attempts | the same at `wflo gateway`, which goes on: a call, a tool loop, a stream | an error each time; how many HTTP requests the client makes before it gives up |

The run is charged exactly what the provider bills, to the nano-dollar; broken streams are charged in full, as
[uncertain](gateway.md#what-a-call-is-charged).

Pydantic AI and the AI SDK give a function call an id of their own, a random one, where the model gives none, as Google's
before Gemini 3 do. In that dialect the names of calls do not count in what makes a request the same one, only which
call an answer belongs to.

CrewAI tries a task three times whatever the answer says; its Anthropic client asks for a count of tokens before each,
which is free. Every other client stops at the first refusal.

{notes}
"""


class Table:
    """Rows in the order of `CLIENTS`, for those that ran."""

    def __init__(self, measured: Measured) -> None:
        self.clients = [client for client in CLIENTS if client in measured.sandboxed]
        self.rows = []
        for client in self.clients:
            found, alone = measured.sandboxed[client].result(), measured.standalone[client].result()
            cases = ["-" if case in client.without else verdict(case, found, alone) for case in WORK]
            row = [client.name, client.versions, *cases, resumed(found), halted(found), attempts(alone)]
            self.rows.append(row)

    def lines(self) -> list[str]:
        """Markdown."""
        return [row(HEAD), row(["---"] * len(HEAD)), *map(row, self.rows)]

    def page(self) -> str:
        reasons = {
            f"{client.name}: no {case}: {why}."
            for client in self.clients
            for case, why in client.without.items()
            if case == "stream"
        }
        return PAGE.format(table="\n".join(self.lines()), notes="\n".join(sorted(reasons))).rstrip() + "\n"


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def verdict(case: str, *places: Outcome | standalone.Outcome) -> str:
    told = [found.cases.get(case) for found in places]
    if not all(told):
        return "missing"
    errors = [one["error"] for one in told if one]
    if case == "cut":
        return "raises" if all(errors) else "SILENT"
    return "FAILED" if any(errors) else "ok"


def attempts(alone: standalone.Outcome) -> str:
    counts = [
        str(len(alone.sent[case])) if alone.cases[case]["error"] else "SILENT" for case in HALT if case in alone.sent
    ]
    return counts[0] if len(set(counts)) == 1 else ", ".join(counts)


def resumed(found: Outcome) -> str:
    paid = len([entry for entry in found.again if entry.billed and any(entry.billed.values())])
    return f"{paid} paid again" if paid else "ok"


def halted(found: Outcome) -> str:
    return "ok" if found.run.get("status") == "halted" else "NOT HALTED"
