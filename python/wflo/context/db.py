"""Databases: `context.db`.

Owns the requests' form and what comes back. Statements run in the engine: neither the database
nor its credentials are in the step. Values are JSON; bytes travel as `{"$bytes": "<base64>"}`.
"""

from __future__ import annotations

from .. import values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, TypeAlias

    from .calls import AsyncCalls, SyncCalls

    Params: TypeAlias = "Sequence[Any] | Mapping[str, Any]"
    Row: TypeAlias = "dict[str, Any]"

ON_CONFLICT = ("abort", "skip", "force")


class Rows(list["dict[str, Any]"]):
    """The rows of a query: a list of dicts by column name, plain enough to be a step's output."""

    __slots__ = ("columns",)

    def __init__(self, answer: dict[str, Any] | None) -> None:
        answer = answer or {}
        self.columns: list[str] = list(answer.get("columns") or ())
        rows: list[list[Any]] = answer.get("rows") or []
        super().__init__(dict(zip(self.columns, [_read(cell) for cell in row], strict=False)) for row in rows)

    def one(self) -> Row:
        """The only row. Raises `LookupError` when there is none or more than one."""
        if len(self) != 1:
            raise LookupError(f"the query gave {len(self)} rows, not one")
        return self[0]

    def scalar(self) -> Any:
        """The first column of the only row."""
        return next(iter(self.one().values()))


class Executed:
    """What a statement did. `rows` holds what `RETURNING` gave."""

    __slots__ = ("last_insert_id", "rows", "rows_affected")

    def __init__(self, answer: dict[str, Any] | None) -> None:
        # No answer: a write whose result was lost, with `on_ambiguous="skip"`.
        answer = answer or {}
        self.rows_affected: int = answer.get("rows_affected") or 0
        self.last_insert_id: int | None = answer.get("last_insert_id")
        self.rows = Rows(answer)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data: what it becomes as a step's output."""
        return {
            "rows_affected": self.rows_affected,
            "last_insert_id": self.last_insert_id,
            "rows": list(self.rows),
        }

    def __repr__(self) -> str:
        return f"Executed(rows_affected={self.rows_affected})"


class Snapshot:
    """The state of some tables at one moment, to be given to `restore`."""

    __slots__ = ("capabilities", "database", "id")

    def __init__(self, answer: dict[str, Any] | None, database: str | None) -> None:
        answer = answer or {}
        self.id: str = str(answer.get("snapshot") or "")
        self.capabilities: dict[str, Any] = answer.get("capabilities") or {}
        self.database = database

    def __repr__(self) -> str:
        return f"Snapshot({self.id!r})"


class Restored:
    """What a restore changed (or would change, with `dry_run`): one entry a row."""

    __slots__ = ("diff", "raw")

    def __init__(self, answer: dict[str, Any] | None) -> None:
        self.raw = answer = answer or {}
        self.diff: list[dict[str, Any]] = answer.get("diff") or []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.diff)

    def __len__(self) -> int:
        return len(self.diff)


def statement(database: str | None, sql: str, params: object) -> dict[str, Any]:
    """The request of a query or a statement."""
    if not isinstance(sql, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"sql must be text, not {type(sql).__name__}")
    if isinstance(params, (str, bytes)):
        raise TypeError('params must be a list or a dict, such as params=["text"]')
    wire = _write(dict(params) if hasattr(params, "keys") else list(params))  # type: ignore
    return {"database": database, "sql": sql, "params": values.plain(wire, "params")}


def changes(database: str | None, first: object, rows: object, table: str | None) -> dict[str, Any]:
    """The request of an update: `update(rows)`, `update(table, rows)` or `update(rows, table=...)`."""
    if isinstance(first, str):
        if table is not None:
            raise TypeError("the table is given twice")
        table = first
    elif rows is None:
        rows = first
    else:
        raise TypeError(f"the table must be text, not {type(first).__name__}")
    if hasattr(rows, "keys"):
        rows = [rows]
    if rows is None or isinstance(rows, (str, bytes)):
        raise TypeError('rows are missing: write update("table", [{"id": 1, "name": "..."}])')
    listed = [_write(dict(row)) for row in rows]  # type: ignore
    return {"database": database, "table": table, "rows": values.plain(listed, "rows")}


def snapshot(database: str | None, tables: object) -> dict[str, Any]:
    """The request of a snapshot; `tables` left out means what the step changes."""
    if isinstance(tables, str):
        raise TypeError(f'tables must be a list, such as tables=["{tables}"]')
    return {"database": database, "tables": None if tables is None else values.plain(list(tables), "tables")}  # type: ignore


def restore(database: str | None, target: Snapshot, dry_run: bool, on_conflict: str) -> dict[str, Any]:
    """The request of a restore."""
    if not isinstance(target, Snapshot):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("restore takes what context.db.snapshot() returned")
    if on_conflict not in ON_CONFLICT:
        raise ValueError(f'on_conflict must be "abort", "skip" or "force", not {on_conflict!r}')
    return {
        "database": database if database is not None else target.database,
        "snapshot": target.id,
        "dry_run": bool(dry_run),
        "on_conflict": on_conflict,
    }


def _write(value: Any) -> Any:
    """Bytes in wire form, one level down: cells are scalars."""
    if isinstance(value, dict):
        return {key: _cell(item) for key, item in value.items()}  # type: ignore
    return [_cell(item) for item in value]


def _cell(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        import binascii

        data = bytes(value)  # pyright: ignore[reportUnknownArgumentType]
        return {"$bytes": binascii.b2a_base64(data, newline=False).decode()}
    return value


def _read(cell: Any) -> Any:
    if isinstance(cell, dict) and len(cell) == 1 and "$bytes" in cell:  # type: ignore[arg-type]
        import binascii

        return binascii.a2b_base64(cell["$bytes"])  # type: ignore
    return cell  # pyright: ignore[reportUnknownVariableType]


class Database:
    """`context.db` of an async step: the database `main`, else the only one.

    `context.db["name"]` is another one; `database="name"` names it for one call.
    """

    __slots__ = ("_calls", "_name")

    def __init__(self, calls: AsyncCalls, name: str | None = None) -> None:
        self._calls = calls
        self._name = name

    def __getitem__(self, name: str) -> Database:
        return Database(self._calls, name)

    async def query(self, sql: str, params: Params = (), *, database: str | None = None) -> Rows:
        """Reads rows. `params` fill `?` (a list) or `:name` (a dict)."""
        wire = statement(database or self._name, sql, params)
        return Rows(await self._calls.effect("db", "query", wire))

    async def execute(self, sql: str, params: Params = (), *, database: str | None = None) -> Executed:
        """Runs one statement, exactly once even across a crash."""
        wire = statement(database or self._name, sql, params)
        return Executed(await self._calls.effect("db", "execute", wire))

    async def update(
        self,
        table_or_rows: str | Sequence[Row] | Row,
        rows: Sequence[Row] | Row | None = None,
        /,
        *,
        table: str | None = None,
        database: str | None = None,
    ) -> int:
        """Writes rows by their primary key, and returns how many changed.

        `update(rows)` finds the table when exactly one has those columns; else give `table=`.
        """
        wire = changes(database or self._name, table_or_rows, rows, table)
        return Executed(await self._calls.effect("db", "update", wire)).rows_affected

    async def bulk_update(
        self,
        table_or_rows: str | Sequence[Row] | Row,
        rows: Sequence[Row] | Row | None = None,
        /,
        *,
        table: str | None = None,
        database: str | None = None,
    ) -> int:
        """As `update`, for many rows in one transaction."""
        wire = changes(database or self._name, table_or_rows, rows, table)
        return Executed(await self._calls.effect("db", "bulk_update", wire)).rows_affected

    async def snapshot(self, tables: Sequence[str] | None = None, *, database: str | None = None) -> Snapshot:
        """Marks the state of the data as it is now."""
        name = database or self._name
        return Snapshot(await self._calls.effect("db", "snapshot", snapshot(name, tables)), name)

    async def restore(
        self,
        snapshot: Snapshot,
        *,
        dry_run: bool = False,
        on_conflict: str = "abort",
        database: str | None = None,
    ) -> Restored:
        """Undoes what this step changed since the snapshot, and returns the difference.

        Rows that others changed since are a conflict: `"abort"` changes nothing, `"skip"` leaves
        those rows, `"force"` overwrites them.
        """
        wire = restore(database or self._name, snapshot, dry_run, on_conflict)
        return Restored(await self._calls.effect("db", "restore", wire))


class SyncDatabase:
    """`context.db` of a sync step; the calls are those of `Database` without `await`."""

    __slots__ = ("_calls", "_name")

    def __init__(self, calls: SyncCalls, name: str | None = None) -> None:
        self._calls = calls
        self._name = name

    def __getitem__(self, name: str) -> SyncDatabase:
        return SyncDatabase(self._calls, name)

    def query(self, sql: str, params: Params = (), *, database: str | None = None) -> Rows:
        """As `Database.query`."""
        return Rows(self._calls.effect("db", "query", statement(database or self._name, sql, params)))

    def execute(self, sql: str, params: Params = (), *, database: str | None = None) -> Executed:
        """As `Database.execute`."""
        return Executed(self._calls.effect("db", "execute", statement(database or self._name, sql, params)))

    def update(
        self,
        table_or_rows: str | Sequence[Row] | Row,
        rows: Sequence[Row] | Row | None = None,
        /,
        *,
        table: str | None = None,
        database: str | None = None,
    ) -> int:
        """As `Database.update`."""
        wire = changes(database or self._name, table_or_rows, rows, table)
        return Executed(self._calls.effect("db", "update", wire)).rows_affected

    def bulk_update(
        self,
        table_or_rows: str | Sequence[Row] | Row,
        rows: Sequence[Row] | Row | None = None,
        /,
        *,
        table: str | None = None,
        database: str | None = None,
    ) -> int:
        """As `Database.bulk_update`."""
        wire = changes(database or self._name, table_or_rows, rows, table)
        return Executed(self._calls.effect("db", "bulk_update", wire)).rows_affected

    def snapshot(self, tables: Sequence[str] | None = None, *, database: str | None = None) -> Snapshot:
        """As `Database.snapshot`."""
        name = database or self._name
        return Snapshot(self._calls.effect("db", "snapshot", snapshot(name, tables)), name)

    def restore(
        self,
        snapshot: Snapshot,
        *,
        dry_run: bool = False,
        on_conflict: str = "abort",
        database: str | None = None,
    ) -> Restored:
        """As `Database.restore`."""
        wire = restore(database or self._name, snapshot, dry_run, on_conflict)
        return Restored(self._calls.effect("db", "restore", wire))
