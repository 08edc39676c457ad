"""The command line that both processes have: what they are and do, their settings, `--version`."""

import argparse
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from runtime import VERSION
from runtime.setting_descriptions import Setting, describe
from runtime.settings import ProcessSettings

_ENDS = """\
commands:
  doctor
      Check that everything is in order, say how to mend what is not, and end; see doctor --help.

signals:
  SIGTERM, SIGINT
      Take nothing new, finish within 20 seconds what has begun, and exit.

exit codes:
  0   stopped by a signal, and everything that had begun was finished
  1   cannot start: a bad setting, an address that is taken, a database that cannot be used;
      or what had begun did not end in time
  2   unknown arguments
"""
_WIDTH = 88
_INDENT = " " * 6


def parser(module: str, settings: type[ProcessSettings], about: str) -> argparse.ArgumentParser:
    """Returns the parser of `python -m <module>`; a process adds its subcommands, if it has any."""
    name = Path(sys.argv[0]).name
    made = argparse.ArgumentParser(
        usage="%(prog)s [-h] [--version] [doctor]",
        prog=f"python -m {module}" if name in ("__main__.py", "-c", "-m") else name,
        description=textwrap.fill(about, _WIDTH),
        epilog="\n".join((*_settings(settings), _ENDS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"chatkit-backend {VERSION}")
    return made


def _settings(settings: type[ProcessSettings]) -> Iterator[str]:
    yield "settings, with their defaults, from the environment or .env (the environment wins):"
    for setting in describe(settings):
        first = f"  {setting.name}={setting.default}" if setting.default else f"  {setting.name}"
        yield textwrap.fill(first, _WIDTH, subsequent_indent=_INDENT)
        yield textwrap.fill(
            _said_of(setting), _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT
        )
    yield ""


def _said_of(setting: Setting) -> str:
    takes = f" Takes: {setting.values}." if setting.values else ""
    return (setting.meaning + takes).replace("`", "")
