"""What both processes do the same way: read settings, write logs, name requests, count."""

VERSION = "0.1.0"
"""Of both; the same as in pyproject.toml, which is not there where a container runs."""
