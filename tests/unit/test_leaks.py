"""The watch over secrets is awake: a test that leaks one fails, wherever it does."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.leaks import refuse_to_tell, secrets_in

LEAKING = """
import logging, pytest
from tests.leaks import LeakWatch, watch

SECRET = "ek_" + "0a" * 16 + "_" + "Zz-" * 14 + "9"
TOKEN = "eyJ" + "hbGciOiJI.eyJ" + "1c2VySWQiOjd9." + "x" * 43

def pytest_configure(config):
    config.pluginmanager.register(LeakWatch())

def test_prints():
    print(f"secret={SECRET}")

def test_logs():
    logging.getLogger("any").warning("for %s", TOKEN)

def test_stores(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "chatkit.db-wal").write_bytes(b"\\\\0" + SECRET.encode() + b"\\\\0")

def test_lets_a_process_print():
    watch('{"event":"request","path":"/api/' + SECRET + '"}')

@pytest.fixture
def late():
    yield
    print(SECRET)

def test_leaks_in_its_teardown(late):
    pass

def test_is_discreet(tmp_path):
    print("ek_1, sk-test, cksess_" + "0" * 32)
    (tmp_path / "a.db").write_bytes(b"[redacted]")
    watch("  Token    " + TOKEN)
"""


def test_a_test_that_leaks_fails(tmp_path: Path) -> None:
    source = LEAKING.replace("\\\\0", "\\0")
    (tmp_path / "conftest.py").write_text(source.partition("def test_prints")[0])
    (tmp_path / "test_leaking.py").write_text(source)
    arguments = ("-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--rootdir", ".", ".")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(
        (sys.executable, *arguments), cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    said = [line for line in run.stdout.splitlines() if "test_leaking.py::" in line]
    failed = {line.split("::")[1].split()[0] for line in said if line.startswith(("ERR", "FAIL"))}
    assert failed == {
        "test_prints",
        "test_logs",
        "test_stores",
        "test_lets_a_process_print",
        "test_leaks_in_its_teardown",
    }, run.stdout
    assert any(line.startswith("PASSED") and "is_discreet" in line for line in said)


async def test_a_failure_that_tells_a_secret_is_refused() -> None:
    request = httpx.Request("GET", "http://127.0.0.1/a")
    secret = "cksec_" + "aB-" * 14 + "c"
    assert secrets_in(secret.encode()) == ["cksec_aB-aB-…"]
    await refuse_to_tell(httpx.Response(200, request=request, text=secret))
    await refuse_to_tell(httpx.Response(404, request=request, text="cksess_1"))
    with pytest.raises(AssertionError, match="answered 404"):
        await refuse_to_tell(httpx.Response(404, request=request, text=f"no {secret}"))
