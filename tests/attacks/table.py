"""The table of what was measured, and the page of the reference that holds it."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "attacks.md"
BEGIN, END = "<!-- the table begins -->", "<!-- the table ends -->"


class Table:
    """Verdicts, by trick and by where it was tried."""

    def __init__(self) -> None:
        self.titles: dict[str, tuple[str, str]] = {}
        self.verdicts: dict[tuple[str, str], str] = {}
        self.columns: list[str] = []

    def add(self, trick: str, area: str, title: str, where: str, verdict: str) -> None:
        self.titles[trick] = (area, title)
        self.verdicts[trick, where] = verdict
        if where not in self.columns:
            self.columns.append(where)

    def rows(self) -> list[list[str]]:
        columns = sorted(self.columns, key=lambda where: (where == "control", where))
        rows = [["area", "trick", *columns]]
        for trick, (area, title) in sorted(self.titles.items(), key=lambda item: (item[1][0], item[0])):
            told = [self.verdicts.get((trick, where), "not tried") for where in columns]
            rows.append([area, f"`{trick}`: {title}", *told])
        return rows

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def write(self) -> None:
        """Puts it into the page, between the marks."""
        rows = self.rows()
        rows.insert(1, ["---"] * len(rows[0]))
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        before, rest = PAGE.read_text().split(BEGIN)
        _, after = rest.split(END)
        PAGE.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after)
