"""Writes the encodings that the gateway counts text by, from the files that OpenAI publishes.

    python scripts/encodings.py o200k_base.tiktoken.gz cl100k_base.tiktoken.gz

The files (`NAME.tiktoken`, plain or compressed) are those that tiktoken loads; their hashes are those that its
source states. What is written is said in `crates/wflo-gateway/encodings/README.md`.
"""

import argparse
import base64
import gzip
import hashlib
import unicodedata
from pathlib import Path

ENCODINGS = Path(__file__).parent.parent / "crates/wflo-gateway/encodings"

# tiktoken_ext/openai_public.py
PUBLISHED = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}

# Unicode's property White_Space, which `\\s` stands for.
SPACES = {9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}

UPPER, LOWER, LETTER, MARK, NUMBER, SPACE, OTHER, UNSURE = range(8)
CLASSES = {"Lu": UPPER, "Lt": UPPER, "Ll": LOWER, "Lm": LETTER, "Lo": LETTER, "Cn": UNSURE, "Cs": UNSURE}
KINDS = {"M": MARK, "N": NUMBER}

# A long s is an s where letters of either case are asked for; the vowel separator was a space until Unicode 6.3.
TREATED_DIFFERENTLY = {0x17F, 0x180E}


def class_of(category: str, point: int) -> int:
    if point in SPACES:
        return SPACE
    return CLASSES.get(category, KINDS.get(category[0], OTHER))


def classes() -> bytes:
    """Runs of the plane that is in use everywhere: a class, and how many code points have it."""
    out = bytearray()
    run: tuple[int, int] | None = None
    for point in range(0x10000):
        then = class_of(unicodedata.ucd_3_2_0.category(chr(point)), point)
        now = class_of(unicodedata.category(chr(point)), point)
        known = then if then == now and point not in TREATED_DIFFERENTLY else UNSURE
        if run and run[0] == known:
            run = (known, run[1] + 1)
            continue
        if run:
            out += bytes([run[0]]) + run[1].to_bytes(2, "little")
        run = (known, 1)
    assert run
    return bytes(out) + bytes([run[0]]) + run[1].to_bytes(2, "little")


def vocabulary(published: bytes) -> bytes:
    """How many tokens, the length of each in the order of their ranks, and their bytes."""
    lines = [line.split() for line in published.splitlines() if line]
    assert [int(rank) for _, rank in lines] == list(range(len(lines)))
    tokens = [base64.b64decode(token) for token, _ in lines]
    return len(tokens).to_bytes(4, "little") + bytes(map(len, tokens)) + b"".join(tokens)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("files", nargs="+", type=Path)
    for path in arguments.parse_args().files:
        name = path.name.split(".")[0]
        published = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        digest = hashlib.sha256(published).hexdigest()
        if digest != PUBLISHED[name]:
            raise SystemExit(f"{path} is not what OpenAI published as {name}: SHA-256 {digest}")
        (ENCODINGS / f"{name}.bin").write_bytes(vocabulary(published))
    (ENCODINGS / "classes.bin").write_bytes(classes())


if __name__ == "__main__":
    main()
