"""What both processes do the same way: read settings, write logs, name requests, count."""

VERSION = "0.1.0"
"""Of both processes and of the package: pyproject.toml reads it from here."""
