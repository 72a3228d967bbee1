"""Holds the gateway's count of tokens against OpenAI's own tiktoken, over real and hostile text.

    pip install tiktoken
    cargo build -p wflo-gateway --example tokens
    python scripts/token_differential.py target/debug/examples/tokens FILES… [--cases 20000] [--seed 1]

Three promises are tried, for both encodings:

1. a text has at most as many tokens as the count says;
2. so has a text that is put together from others, whatever stands at the seams: at most the sum of their counts;
3. between two digits (where every encoding cuts) a text of characters that are sure is counted exactly.

With `--fixture FILE`, texts and their exact counts by both encodings are written for the tests of the gateway instead.

FILES are texts, of which parts of all sizes are taken; the others are made up of tokens, words, and the characters
that the encodings' expressions tell apart. Exits 1 with the text of the first broken promise.
"""

# ruff: noqa: RUF001 -- letters that look like others are what is tried.

import argparse
import hashlib
import json
import random
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import tiktoken
from tiktoken_ext import openai_public

ENCODINGS = Path(__file__).parent.parent / "crates/wflo-gateway/encodings"

# What the expressions tell apart, and what servers may read differently.
PARTS = [
    "a", "B", "ab", "Ab", "AB", "é", "É", "ß", "中", "文", "の", "ー", "ʰ", "ǅ", "Ж", "ж", "ا", "क", "्", "e\u0301",
    "\u0301", "1", "12", "١", "²", "½", "7", " ", "  ", "\t", "\n", "\r\n", "\n\n", "\u00a0", "\u3000", "\u2028", "/",
    "//", "'", "'s", "'S", "'re", "'LL", "'ſ", "ſ", "’s", ".", "...", "-", "_", "{", '"', "=", "=====", "😀", "👩‍👩‍👧",
    "\u180e", "\ua7c7", "\u0870", "<|endoftext|>", "<|", "|>", "<|im_start|>", "\x00", "\x7f", "\ufeff", "\U0001f9ff",
]  # fmt: skip


# Of languages that the files are not in.
SENTENCES = [
    "Ночью выпал снег, и утром никто не узнал дорогу к станции.",
    "雨が止んだので、子どもたちは公園へ走って行きました。",
    "昨天我们在图书馆门口等了很久，最后决定先去吃饭。",
    "기차가 늦게 도착해서 우리는 역에서 두 시간을 기다렸다.",
    "नदी के किनारे बैठकर वह पुरानी चिट्ठियाँ पढ़ता रहा।",
    "وصلت الرسالة متأخرة، لكن أحدا لم يسأل عن السبب.",
    "Trời mưa suốt đêm, sáng ra con đường đã ngập nước.",
    "Die Straßenbahn fuhr heute früher ab als üblich, weshalb wir zu Fuß gingen.",
    "L’été dernier, nous n’avons trouvé qu’une seule île sans touristes.",
    "Λίγο πριν από το λιμάνι, ο άνεμος άλλαξε κατεύθυνση.",
]


def encoding(name: str) -> tiktoken.Encoding:
    """tiktoken's own, with the tokens that the gateway has compiled in, and its own expression."""
    data = (ENCODINGS / f"{name}.bin").read_bytes()
    count = int.from_bytes(data[:4], "little")
    at, ranks = 4 + count, {}
    for rank, length in enumerate(data[4 : 4 + count]):
        ranks[data[at : at + length]] = rank
        at += length
    openai_public.load_tiktoken_bpe = lambda *_, **__: ranks
    return tiktoken.Encoding(**openai_public.ENCODING_CONSTRUCTORS[name]())


class Ours:
    """The gateway's count, by its example program."""

    def __init__(self, program: Path) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([program], stdin=pipe, stdout=pipe, text=True, encoding="utf-8")

    def most(self, name: str, text: str) -> int:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([name, text]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def is_sure(text: str) -> bool:
    """Whether every character is of one kind in all versions of Unicode, as `scripts/encodings.py` has it."""
    return all(
        c not in "ſ\u180e"
        and ord(c) < 0x10000
        and unicodedata.category(c) != "Cn"
        and unicodedata.category(c) == unicodedata.ucd_3_2_0.category(c)
        for c in text
    ) and not ("<|" in text or "|>" in text)


def texts(chance: random.Random, files: list[str], tokens: list[str]) -> Iterator[str]:
    while True:
        match chance.randrange(5):
            case 0:
                yield "".join(chance.choices(PARTS, k=chance.randint(1, 30)))
            case 1:
                yield "".join(chance.choices(tokens, k=chance.randint(1, 60)))
            case 2:
                part = chance.choice(PARTS)
                yield part * chance.randint(1, 300) + chance.choice(PARTS)
            case 3:
                yield " ".join(chance.choices(SENTENCES, k=chance.randint(1, 4)))[chance.randrange(9) :]
            case _:
                file = chance.choice(files)
                begin = chance.randrange(len(file))
                yield file[begin : begin + chance.choice([10, 100, 1_000, 5_000])]


def exact(text: str, theirs: tiktoken.Encoding) -> int:
    """The tokens of a text: as ordinary text, and as a server may read marks."""
    return max(len(theirs.encode(text, disallowed_special=())), len(theirs.encode(text, allowed_special="all")))


def write(fixture: Path, files: list[str], chance: random.Random) -> None:
    """Writes lines of a text, its tokens by `o200k_base` and by `cl100k_base`."""
    both = [encoding("o200k_base"), encoding("cl100k_base")]
    tokens = [token.decode(errors="ignore") for token in both[0].token_byte_values()]
    made = texts(chance, files, [token for token in tokens if token])
    chosen = [text[:400] for text, _ in zip(made, range(600), strict=False)]
    lines = [json.dumps([text, *(exact(text, theirs) for theirs in both)]) for text in chosen]
    fixture.write_text("\n".join(lines) + "\n")


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    arguments.add_argument("program", type=Path)
    arguments.add_argument("files", type=Path, nargs="+")
    arguments.add_argument("--cases", type=int, default=20_000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--fixture", type=Path)
    given = arguments.parse_args()
    files = [path.read_text(errors="replace") for path in given.files]
    if given.fixture:
        write(given.fixture, files, random.Random(given.seed))
        return
    ours = Ours(given.program)
    for name in ("o200k_base", "cl100k_base"):
        theirs = encoding(name)
        tokens = [token.decode(errors="ignore") for token in theirs.token_byte_values()]
        chance = random.Random(given.seed)
        made = texts(chance, files, [token for token in tokens if token])

        sums = {"tokens": 0, "counted": 0, "exactly": 0, "bytes": 0}
        for _ in range(given.cases):
            parts = [next(made) for _ in range(chance.randint(1, 3))]
            most = [ours.most(name, part) for part in parts]
            whole = "".join(parts)
            for text, count in [*zip(parts, most, strict=True), (whole, sum(most))]:
                if exact(text, theirs) > count:
                    sys.exit(f"{name}: {exact(text, theirs)} tokens, counted as {count}: {text!r} ({parts!r})")
            sums["tokens"] += exact(parts[0], theirs)
            sums["counted"] += most[0]
            sums["bytes"] += len(parts[0].encode())
            between = f"1 {parts[0]} 1"
            if is_sure(between):
                sums["exactly"] += 1
                counted = ours.most(name, between)
                if counted != exact(between, theirs):
                    sys.exit(f"{name}: {exact(between, theirs)} tokens, counted as {counted}: {between!r}")
        print(f"{name}: {given.cases} cases, none above its count; {sums}")
        for path, file in zip(given.files, files, strict=True):
            # As much as a request may have counted.
            text, digest = file[:1_000_000], hashlib.sha256(file.encode()).hexdigest()[:8]
            count, most = exact(text, theirs), ours.most(name, text)
            print(f"  {path.name} ({digest}): {len(text.encode())} bytes, {count} tokens, counted as {most}")


if __name__ == "__main__":
    main()
