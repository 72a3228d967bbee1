"""An agent of Pydantic AI: it looks the weather up with a tool, and writes a report. It knows nothing of wflo."""

import sys
from pathlib import Path

from pydantic_ai import Agent

agent = Agent("openai-chat:" + sys.argv[1])


@agent.tool_plain
def weather(city: str) -> str:
    """The weather in a city."""
    Path("seen").mkdir(exist_ok=True)
    Path("seen", f"{city}.txt").write_text("sunny\n")
    return "sunny"


answer = agent.run_sync("what is the weather?").output
Path("report.md").write_text(f"# Report\n\n{answer}\n")
Path("old.md").unlink()
print(answer)
