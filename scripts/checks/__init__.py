"""Checks of the repository itself, one a module."""
