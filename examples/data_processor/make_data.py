"""Write data/support.db: a few hundred support tickets of a made-up label-printer company.

The same seed gives the same tickets. Nothing here is about real people; the addresses end in
example.com. Run it again to start over:

    python make_data.py [--records 320] [--seed 7]
"""

import argparse
import random
import sqlite3
from pathlib import Path

from tickets import CLOSINGS, COMPANIES, FAMILY_NAMES, FILLERS, GIVEN_NAMES, OPENINGS, TICKETS

PLANS = [("free", 40), ("team", 40), ("business", 20)]
QUEUES = [("billing", 25), ("bug", 25), ("access", 15), ("shipping", 20), ("question", 15)]

SCHEMA = """
CREATE TABLE records (
    id       INTEGER PRIMARY KEY,
    customer TEXT NOT NULL,
    email    TEXT NOT NULL,
    plan     TEXT NOT NULL CHECK (plan IN ('free', 'team', 'business')),
    queue    TEXT NOT NULL,                 -- where the front desk put it
    status   TEXT NOT NULL CHECK (status IN ('open', 'pending', 'solved', 'closed')),
    age      INTEGER NOT NULL CHECK (age >= 0),   -- days
    subject  TEXT NOT NULL,
    body     TEXT NOT NULL,
    label    TEXT,                          -- written by the workflow
    summary  TEXT                           -- written by the workflow
);
CREATE INDEX records_age ON records (age);
CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
"""


def pick(draw: random.Random, weighted: list[tuple[str, int]]) -> str:
    return draw.choices([name for name, _ in weighted], [weight for _, weight in weighted])[0]


def age_in_days(draw: random.Random) -> int:
    """Most tickets are weeks old; one in sixteen has been there for more than a year."""
    if draw.random() < 1 / 16:
        return draw.randint(366, 900)
    return min(365, int(draw.expovariate(1 / 70)))


def status_at(draw: random.Random, age: int) -> str:
    if age > 120:
        return draw.choices(["closed", "solved", "pending"], [80, 15, 5])[0]
    if age > 14:
        return draw.choices(["closed", "solved", "pending", "open"], [25, 45, 15, 15])[0]
    return draw.choices(["open", "pending", "solved"], [60, 25, 15])[0]


def fill(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def record(draw: random.Random) -> tuple[str | int, ...]:
    given, family = draw.choice(GIVEN_NAMES), draw.choice(FAMILY_NAMES)
    company = draw.choice(COMPANIES)
    plan, queue = pick(draw, PLANS), pick(draw, QUEUES)
    subject, body = draw.choice(TICKETS[queue])
    age = age_in_days(draw)
    opening, closing = draw.choice(OPENINGS), draw.choice(CLOSINGS)
    values = {name: draw.choice(choices) for name, choices in FILLERS.items()}
    values |= {"number": str(draw.randint(20000, 99999)), "small": str(draw.randint(2, 40))}
    text = fill(" ".join(part for part in (opening, body, closing) if part), values)
    email = f"{given}.{family}@{company}.example.com".lower().replace(" ", "")
    return (f"{given} {family}", email, plan, queue, status_at(draw, age), age,
            capitalised(fill(subject, values)), capitalised(text))  # fmt: skip


def write(path: Path, records: int, seed: int) -> int:
    """Make the database anew and return how many records are older than a year."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
        old.unlink(missing_ok=True)
    draw = random.Random(seed)
    rows = [record(draw) for _ in range(records)]
    db = sqlite3.connect(path)
    with db:
        db.executescript(SCHEMA)
        db.executemany(
            "INSERT INTO records (customer, email, plan, queue, status, age, subject, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        db.executemany(
            "INSERT INTO settings VALUES (?, ?)",
            [("labels", ",".join(sorted(TICKETS))), ("summary_characters", "160")],
        )
    (old_rows,) = db.execute("SELECT count(*) FROM records WHERE age > 365").fetchone()
    db.close()
    return old_rows


def main() -> None:
    parser = argparse.ArgumentParser(description="write data/support.db")
    parser.add_argument("--records", type=int, default=320)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    path = Path(__file__).resolve().parent / "data" / "support.db"
    old = write(path, arguments.records, arguments.seed)
    print(f"data/support.db: {arguments.records} records, {old} of them older than 365 days")


if __name__ == "__main__":
    main()
