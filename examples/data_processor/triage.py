"""What a very small model is asked, and how its answers are read.

A model of 135 million parameters follows examples better than instructions, answers the courtesies
of a letter instead of the letter, and says a word near the one it was asked for ("lockedout", "error
424"). So it gets examples, the ticket without its courtesies, and a grammar that lets it choose only
among the labels. A server that does not know grammars ignores this one: then each label has words
that count for it, the first one found decides, and an answer with none of them falls back to a label
that says so. How often that happened stands in the report.
"""

import re

FALLBACK = "unsorted"

# label -> the word the examples use for it, then further words that count.
WORDS = {
    "billing": ["payment", "billing", "invoice", "charge", "refund", "price"],
    "bug": ["error", "bug", "crash", "slow"],
    "access": ["login", "access", "locked", "password", "sign"],
    "shipping": ["delivery", "shipping", "parcel", "order"],
    "question": ["question", "limit", "how"],
}

# llama.cpp's `grammar` parameter: the answer is one of these words.
LABEL_GRAMMAR = "root ::= " + " | ".join(f'"{words[0]}"' for words in WORDS.values())

COURTESIES = re.compile(
    r"^(hello|hi team|good morning|dear support),\s*|(thank you\.|thanks in advance!|please reply soon\.|best regards\.)$",
    re.IGNORECASE,
)

LABEL_EXAMPLES = [
    ("billing", "Wrong amount. We paid for ten people and the invoice says twelve. I want a refund."),
    ("bug", "Screen stays white. The program crashes when I open a file."),
    ("access", "Cannot sign in. I forgot my password and my account is locked."),
    ("shipping", "Parcel lost. My package has not been delivered. Where is it?"),
    ("question", "Is there a dark theme? How do I turn it on?"),
]

SUMMARY_EXAMPLES = [
    (
        "Refund please. I was charged after I cancelled in May and would like the money back.",
        "Customer was charged after cancelling and wants a refund.",
    ),
    (
        "Export fails. When I export a large report the spinner never stops.",
        "Exporting a large report never finishes.",
    ),
]


def _chat(system: str, examples: list[tuple[str, str]], question: str) -> list[dict[str, str]]:
    messages = [{"role": "system", "content": system}]
    for asked, answered in examples:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return [*messages, {"role": "user", "content": question}]


def plain(subject: str, body: str) -> str:
    """The ticket as one line, less its greeting and its thanks."""
    return f"{subject}. {COURTESIES.sub('', body).strip()}"


def label_prompt(subject: str, body: str) -> list[dict[str, str]]:
    """The messages that ask for one label."""
    words = ", ".join(words[0] for words in WORDS.values())
    examples = [(text, WORDS[label][0]) for label, text in LABEL_EXAMPLES]
    return _chat(f"You label support messages with one word: {words}.", examples, plain(subject, body))


def summary_prompt(subject: str, body: str) -> list[dict[str, str]]:
    """The messages that ask for one short sentence."""
    return _chat("You rewrite support tickets as one short sentence.", SUMMARY_EXAMPLES, plain(subject, body))


def read_label(answer: str) -> str:
    """The label whose word comes first in the answer, or `FALLBACK`."""
    found = [
        (answer.lower().find(word), label) for label, words in WORDS.items() for word in words if word in answer.lower()
    ]
    return min(found)[1] if found else FALLBACK


def read_summary(answer: str, subject: str, most_characters: int) -> str:
    """The answer's first line, cut at a word; the subject when there is none."""
    text = " ".join(answer.strip().split("\n", 1)[0].split()) or subject
    if len(text) <= most_characters:
        return text
    return text[: most_characters - 1].rsplit(" ", 1)[0] + "…"
