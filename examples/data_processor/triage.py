"""What a very small model is asked, and how its answers are read.

A model of 135 million parameters follows examples better than instructions, and answers with a word
near the one it was asked for ("lockedout", "error 424"). So each label has words that count for it,
the first one found decides, and an answer with none of them falls back to a label that says so. How
often that happened stands in the report.
"""

FALLBACK = "unsorted"

# label -> the word the examples use for it, then further words that count.
WORDS = {
    "billing": ["payment", "billing", "invoice", "charge", "refund", "price"],
    "bug": ["error", "bug", "crash", "slow"],
    "access": ["login", "access", "locked", "password", "sign"],
    "shipping": ["delivery", "shipping", "parcel", "order"],
    "question": ["question", "limit", "how"],
}

LABEL_EXAMPLES = [
    ("billing", "My card was billed for a plan I cancelled. Please give the money back."),
    ("bug", "The page shows an error when I save. It does not work."),
    ("access", "I forgot my password and cannot sign in."),
    ("shipping", "My package has not arrived. Where is it?"),
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


def label_prompt(subject: str, body: str) -> list[dict[str, str]]:
    """The messages that ask for one label."""
    words = ", ".join(words[0] for words in WORDS.values())
    examples = [(text, WORDS[label][0]) for label, text in LABEL_EXAMPLES]
    return _chat(f"You label support messages with one word: {words}.", examples, f"{subject}. {body}")


def summary_prompt(subject: str, body: str) -> list[dict[str, str]]:
    """The messages that ask for one short sentence."""
    return _chat("You rewrite support tickets as one short sentence.", SUMMARY_EXAMPLES, f"{subject}. {body}")


def read_label(answer: str) -> str:
    """The label whose word comes first in the answer, or `FALLBACK`."""
    found = [
        (answer.lower().find(word), label)
        for label, words in WORDS.items()
        for word in words
        if word in answer.lower()
    ]
    return min(found)[1] if found else FALLBACK


def read_summary(answer: str, subject: str, most_characters: int) -> str:
    """The answer's first line, cut at a word; the subject when there is none."""
    text = " ".join(answer.strip().split("\n", 1)[0].split()) or subject
    if len(text) <= most_characters:
        return text
    return text[: most_characters - 1].rsplit(" ", 1)[0] + "…"
