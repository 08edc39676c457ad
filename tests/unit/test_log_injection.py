"""Whatever is logged, a line is a line: nobody can write one of their own into the logs."""

import json
import logging
import subprocess
import sys

import structlog

HOSTILE = [
    "a\nb",
    "a\r\nb",
    '\n{"timestamp":"2026","level":"info","event":"forged"}',
    "\x1b[31mred\x1b]0;title\x07",
    "nul\x00, bell\x07, delete\x7f, back\x08\x08\x08",
    "next line\x85, C1 \x9b31m",
    "line\u2028paragraph\u2029",
    "\u202egnp.exe\u2066",
    "\ufeff\u200e\u200f",
    "x" * 100_000 + "\n",
    "José 你好 🎉",
]
RAW = [chr(c) for c in (*range(32), *range(127, 160), 0x2028, 0x2029, 0x202E, 0x2066) if c != 10]


def log_all(hostile: str) -> int:
    """Logs it in every place where a value can be; returns how often."""
    log = structlog.get_logger()
    log.info("request", path=hostile, nested={"user": [hostile]}, raw=hostile.encode())
    log.warning(hostile)
    log.info("request", **{hostile[:50]: 1})
    logging.getLogger("asyncio").error("from a library: %s", hostile)
    logging.getLogger("asyncio").error("with more", extra={"user": hostile})
    try:
        raise ValueError(hostile) from KeyError(hostile)
    except ValueError:
        log.exception("defect", method=hostile)
        logging.getLogger("uvicorn.error").exception("Task exception was never retrieved")
    return 7


def logged(log_format: str) -> str:
    """Returns what a process writes that logs all that; this one's logs are pytest's."""
    program = (
        "from runtime import log; from tests.unit.test_log_injection import HOSTILE, log_all;"
        f"log.configure('debug', {log_format!r}); print(sum(map(log_all, HOSTILE)))"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode()


def test_every_line_is_one_json_object() -> None:
    *lines, number = logged("json").splitlines()  # at every line end that Unicode knows
    entries = [json.loads(line) for line in lines]
    assert len(entries) == int(number)
    assert all(entry["event"] != "forged" for entry in entries)
    assert [entry["path"] for entry in entries if "path" in entry] == HOSTILE  # nothing is lost
    assert not any(character in line for line in lines for character in RAW)


def test_on_a_terminal_nothing_speaks_to_the_terminal() -> None:
    written = logged("console")
    assert "José 你好 🎉" in written
    assert not any(character in written for character in RAW)
    assert '\n{"timestamp"' not in written
