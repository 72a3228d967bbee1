"""What the model says: a function of the request, the same in every dialect.

Offered a tool and given no result yet, it calls the tool (a shell with the command that it was told, if it was
told `run: COMMAND`); else it repeats the last thing that it was
told. So a tool loop takes exactly two calls, and an answer shows which request it belongs to. The text
has characters of more than one byte, which a gateway may cut in two but not spoil.
"""

import json
from collections.abc import Mapping

INPUT, OUTPUT = 40, 12
LARGE = 5_000_000
# Tools that run commands, as coding agents offer them, with the name of their argument.
SHELLS = {"Bash": "command", "exec_command": "cmd"}
SAYS = "You said: {} ☀ 21 °C"


def loads(text: str) -> dict[str, object]:
    return json.loads(text)


class Turn:
    """One answer: a text, or a call of a tool."""

    def __init__(self, text: str = "", tool: str = "", arguments: Mapping[str, object] | None = None) -> None:
        self.text = text
        self.tool = tool
        self.arguments = json.dumps(arguments or {}, ensure_ascii=False)

    @property
    def pieces(self) -> list[str]:
        """The text, or the tool's arguments, as a stream gives them."""
        whole = self.arguments if self.tool else self.text
        size = 7 if len(whole) < LARGE else 500_000
        return [whole[start : start + size] for start in range(0, len(whole), size)]


def turn(said: str, tools: Mapping[str, Mapping], results: list[str]) -> Turn:
    """What follows when `said` was the last of the user, these tools were offered and gave these results."""
    if results and "final_answer" in tools:
        return Turn(tool="final_answer", arguments={"answer": f"It is {results[-1]}"})
    if (shell := next((name for name in SHELLS if name in tools), None)) and not results:
        return Turn(tool=shell, arguments={SHELLS[shell]: said.splitlines()[-1].partition("run: ")[2]})
    if tools and not results:
        name = "weather" if "weather" in tools else next(iter(tools))
        return Turn(tool=name, arguments=filled(tools[name]))
    if said.endswith("\nlarge"):
        return Turn("x" * LARGE)
    if "[[ ## " in said:
        return Turn(fields(said))
    return Turn(SAYS.format(results[-1] if results else said.splitlines()[-1].strip() if said else ""))


def filled(schema: Mapping) -> dict[str, object]:
    """Arguments that fit a schema of texts."""
    names = schema.get("required") or list(schema.get("properties") or {})
    return dict.fromkeys(names, "Paris")


def fields(said: str) -> str:
    """DSPy asks for its outputs under marks, which it names in its last sentence."""
    asked = [part.split(" ## ]]")[0] for part in said.rsplit("Respond with", 1)[-1].split("[[ ## ")[1:]]
    # ReAct's: the first time the tool, then the end.
    seen = "[[ ## observation_0 ## ]]" in said or "Observation" in said or '"observation_0"' in said
    values = {
        "next_thought": "so it is",
        "next_tool_name": "finish" if seen else "weather",
        "next_tool_args": "{}" if seen else '{"city": "Paris"}',
        "answer": SAYS.format("sunny" if seen else "hello"),
    }
    told = [f"[[ ## {name} ## ]]\n{values.get(name, 'so it is')}" for name in asked]
    return "\n\n".join(told)
