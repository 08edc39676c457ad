"""A checklist for people at a terminal, in Spanish or English, and as JSON for machines."""

import argparse
import asyncio
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias

import orjson
import structlog

from runtime.checklist import Check, State, verdict
from runtime.checklist_texts import Language, explanation, phrase, title

Checklist: TypeAlias = Mapping[str, Sequence[Check]]
"""The checks of each process, by the process's name in `checklist_texts`."""

_SIGNS: Mapping[State, str] = {"passed": "✓", "failed": "✗", "warning": "!", "skipped": "–"}  # noqa: RUF001
_COLOURS: Mapping[State, int] = {"passed": 32, "failed": 31, "warning": 33, "skipped": 90}
_COLUMNS = 96


def main(
    arguments: Sequence[str],
    program: str,
    examine: Callable[[], Coroutine[Any, Any, Checklist]],
) -> int:
    """Examines and prints. Returns 0, or 1 where a check has failed; exits with 2 for bad usage."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Checks that everything is in order, and says how to mend what is not."
        " Changes nothing. In hosted mode it makes one session at OpenAI, and cancels it.",
        epilog="Exit code: 0 if nothing has failed, 1 if something has, 2 for bad usage.",
    )
    parser.add_argument("--lang", choices=("es", "en"), help="the language; default: the locale's")
    parser.add_argument("--json", action="store_true", help="print JSON, for machines")
    options = parser.parse_args(arguments)
    language: Language = options.lang or language_of_locale(os.environ)
    # What the parts of a process would log is what the checks say.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        checklist = asyncio.run(examine())
    except KeyboardInterrupt:
        return 130  # as of what ends by that signal
    if options.json:
        text = as_json(checklist, language)
    else:
        colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        text = as_text(checklist, language, colours=colours)
        encoding = sys.stdout.encoding  # of an old locale, which may lack the signs
        text = text.encode(encoding, "replace").decode(encoding)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read it has read enough, such as head. Python would flush once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(_verdict(checklist) == "failed")


def language_of_locale(environment: Mapping[str, str]) -> Language:
    """Returns the language of the first of the locale's variables that says one of ours."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        language = environment.get(name, "").lower().partition("_")[0].partition(".")[0]
        if language in ("es", "en"):
            return "es" if language == "es" else "en"
    return "es"


def as_text(checklist: Checklist, language: Language, *, colours: bool) -> str:
    """Returns a line for each check, below it what there is to say, and one line for all."""
    lines: list[str] = []
    for process, checks in checklist.items():
        lines += ["", phrase(process, language)]
        for check in checks:
            sign = _coloured(_SIGNS[check.state], check.state, colours)
            line = f"  {sign} {title(check, language)}"
            said = explanation(check, language)
            if check.state == "passed" or check.cause == "after":
                lines.append(f"{line}: {said}" if said else line)
                continue
            lines.append(line)
            lines += _wrapped(said)
    lines += ["", _summary(checklist, language)]
    return "\n".join([*lines, ""])


def as_json(checklist: Checklist, language: Language) -> str:
    """Returns all there is; but for `title` and `explanation` it is the same in each language."""
    checks = [
        {
            "process": process,
            "name": check.name,
            "state": check.state,
            "cause": check.cause,
            "details": dict(check.details),
            "title": title(check, language),
            "explanation": explanation(check, language),
        }
        for process, checks in checklist.items()
        for check in checks
    ]
    report = {"state": _verdict(checklist), "language": language, "checks": checks}
    return orjson.dumps(report, option=orjson.OPT_INDENT_2).decode() + "\n"


def _verdict(checklist: Checklist) -> State:
    return verdict(check for checks in checklist.values() for check in checks)


def _summary(checklist: Checklist, language: Language) -> str:
    states = [check.state for checks in checklist.values() for check in checks]
    counts = {state: str(states.count(state)) for state in _SIGNS}
    name = "summary" if counts["failed"] != "0" else "summary.fine"
    parts = [phrase(name, language).format(total=len(states), **counts)]
    for state in ("warning", "skipped"):
        if counts[state] != "0":
            plural = "" if counts[state] == "1" else "s"
            parts.append(phrase(f"summary.{state}{plural}", language).format(counts[state]))
    return ", ".join(parts) + "."


def _wrapped(said: str) -> list[str]:
    lines: list[str] = []
    for paragraph in said.splitlines():
        lines += textwrap.wrap(
            paragraph,
            _COLUMNS,
            initial_indent=" " * 6,
            subsequent_indent=" " * 6,
            break_long_words=False,  # addresses and names of files are copied from here
            break_on_hyphens=False,
        )
    return lines


def _coloured(sign: str, state: State, colours: bool) -> str:
    return f"\x1b[{_COLOURS[state]}m{sign}\x1b[0m" if colours else sign
