"""What a dialect answers: a whole body, or a stream, and what the provider bills for it."""

import json


class Whole:
    """A JSON body."""

    def __init__(self, value: object, billed: dict[str, int]) -> None:
        self.value = value
        self.billed = billed
        self.type = "application/json"

    def frames(self) -> list[bytes]:
        return [json.dumps(self.value, ensure_ascii=False).encode()]


class Sse:
    """A stream of server-sent events, each with a name or none; a text goes out as it is."""

    def __init__(self, events: list[tuple[str | None, object]], billed: dict[str, int], end: str = "\n\n") -> None:
        self.events = events
        self.billed = billed
        self.end = end
        self.type = "text/event-stream"

    def frames(self) -> list[bytes]:
        out = []
        for name, value in self.events:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            head = f"event: {name}\n" if name else ""
            out.append(f"{head}data: {text}{self.end}".encode())
        return out


Reply = Whole | Sse
