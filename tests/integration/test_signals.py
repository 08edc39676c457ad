"""Signals that come again, early or late: both processes end as if there had been one."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LISTEN = {"session_service": "SESSION_SERVICE_LISTEN", "gateway": "GATEWAY_LISTEN"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("module", LISTEN)
async def test_signals_up_to_the_last_moment_do_not_change_the_exit_code(
    module: str, number: signal.Signals, tmp_path: Path
) -> None:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(REPOSITORY),
            "JWT_SECRET": "a-secret-of-this-test-32-bytes-long",
            LISTEN[module]: "127.0.0.1:0",
            "SESSION_SERVICE_METRICS_LISTEN": "off",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert running.stdout is not None
    line = await asyncio.wait_for(running.stdout.readline(), 20)
    assert b"listening" in line
    ended = asyncio.create_task(running.communicate())
    while not ended.done():
        # Not by asyncio's own, which asks whether it has ended and takes the exit code away.
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, number)
        await asyncio.sleep(0.001)
    _, complaint = await ended
    assert (running.returncode, complaint.decode()) == (0, "")


async def test_a_signal_before_there_is_a_loop_is_heard() -> None:
    program = """
import asyncio, os, signal
from runtime.signals import stop_request

with stop_request() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    asyncio.run(asyncio.wait_for(stop.wait(), 5))
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGINT)
print("at the end")
"""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program), cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(running.communicate(), 20)
    assert (running.returncode, output) == (0, b"at the end\n")


async def test_what_hangs_does_not_keep_a_process_from_ending_and_is_named() -> None:
    program = """
import asyncio, os, signal, threading
from runtime.signals import stop_request

def a_disk_that_hangs():
    threading.Event().wait()

with stop_request(hard_stop_seconds=0.3) as stop:
    threading.Thread(target=a_disk_that_hangs).start()
    os.kill(os.getpid(), signal.SIGTERM)
    asyncio.run(stop.wait())
print("drained", flush=True)
"""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await asyncio.wait_for(running.communicate(), 20)
    assert (running.returncode, output) == (1, b"drained\n")
    assert b"in a_disk_that_hangs" in complaint


async def test_a_service_on_an_address_of_another_machine_says_so_in_one_line(
    tmp_path: Path,
) -> None:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "session_service"),
        cwd=tmp_path,
        # For documentation, so nobody's: RFC 5737.
        env={
            "PYTHONPATH": str(REPOSITORY),
            "SESSION_SERVICE_LISTEN": "192.0.2.1:50051",
            "SESSION_SERVICE_PLAINTEXT": "true",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await asyncio.wait_for(running.communicate(), 20)
    assert running.returncode == 1
    assert output == b""
    (line,) = complaint.decode().splitlines()
    assert "192.0.2.1:50051" in line
    assert "SESSION_SERVICE_LISTEN" in line
