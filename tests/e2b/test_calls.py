"""The stock SDKs of E2B, Python and JavaScript, do what they say with sandboxes of this machine."""

import pytest
from table import LANGUAGES, NAMES, Did

EACH = [(language, name) for language in LANGUAGES for name in NAMES[language]]


@pytest.mark.parametrize(("language", "name"), EACH, ids=[f"{language}-{name}" for language, name in EACH])
def test_the_call_does_what_it_says(did: Did, language: str, name: str) -> None:
    error = did.of(language)[name]
    assert error is None, error
