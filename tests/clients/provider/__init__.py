"""A model provider of all four dialects on loopback: what it was asked, what it answered and billed."""

from .server import Entry, Provider

__all__ = ["Entry", "Provider"]
