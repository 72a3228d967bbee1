"""The parts of the example that can be wrong on their own: its data, and how it reads a model."""

import sqlite3
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "data_processor"))

import make_data
import triage


def test_the_same_seed_gives_the_same_database(tmp_path: Path) -> None:
    for name in ("a.db", "b.db"):
        make_data.write(tmp_path / name, 320, seed=7)
    rows = [list(sqlite3.connect(tmp_path / n).execute("SELECT * FROM records")) for n in ("a.db", "b.db")]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 320


def test_the_data_has_something_to_delete_and_something_to_triage(tmp_path: Path) -> None:
    old = make_data.write(tmp_path / "s.db", 320, seed=7)
    db = sqlite3.connect(tmp_path / "s.db")
    (open_tickets,) = db.execute("SELECT count(*) FROM records WHERE status = 'open' AND age <= 365").fetchone()
    assert 10 <= old <= 40
    assert open_tickets >= 16
    assert db.execute("SELECT count(*) FROM records WHERE body LIKE '%{%' OR subject LIKE '%{%'").fetchone() == (0,)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("payment", "billing"),
        ("Error 424 on", "bug"),
        ("lockedout", "access"),
        ("order88213", "shipping"),
        ("question: is it an error", "question"),
        ("black-and-white-", triage.FALLBACK),
        ("", triage.FALLBACK),
    ],
)
def test_a_small_models_answer_is_read_by_its_first_word_that_counts(answer: str, label: str) -> None:
    assert triage.read_label(answer) == label


def test_a_summary_is_one_line_within_its_length() -> None:
    assert triage.read_summary("  The box\twas wet. \nAnd more", "s", 160) == "The box was wet."
    assert triage.read_summary(" \n", "Parcel was damaged", 160) == "Parcel was damaged"
    long = triage.read_summary("word " * 50, "s", 40)
    assert len(long) <= 40 and long.endswith("word…")
