"""The examples of the README, run as they stand there."""

import os
import re
import subprocess
import sys

from tests.e2e.processes import REPOSITORY, System


def test_the_python_example_of_an_internal_caller_works(system: System) -> None:
    (example,) = re.findall(r"(?s)```python\n(.*?)```", (REPOSITORY / "README.md").read_text())
    listening = r'session service listening","address":"([\d.:]+)"'
    address = system.process.wait_for(listening)[1]
    assert "127.0.0.1:50051" in example
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example.replace("127.0.0.1:50051", address)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert re.fullmatch(r"cksess_\w+ \d+\n", done.stdout)
    assert done.stderr == ""
