"""The package as one would install it: built, in an environment of its own, run from elsewhere."""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import VERSION
from tests.e2e import processes
from tests.e2e.dashboard import open_dashboard
from tests.e2e.processes import LISTENS, REPOSITORY, SECRET, WORKFLOW, Process

FILES = ("pyproject.toml", "README.md")
PACKAGES = ("chatkit_client", "gateway", "protos", "runtime", "session_service")

# As pip does it, without pip's own environment for it: setuptools is in ours.
_BUILD = """
import sys
import setuptools.build_meta as backend

print(getattr(backend, f"build_{sys.argv[1]}")(sys.argv[2]))
"""


def build(kind: str, source: Path, into: Path) -> Path:
    """Builds a `wheel` or an `sdist`, by what pyproject.toml says."""
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, kind, into],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=processes.PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that has the wheel, and what it needs from the tests' own."""
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    source.mkdir()
    for name in FILES:
        shutil.copy(REPOSITORY / name, source)
    for name in filter(lambda name: (REPOSITORY / name).exists(), PACKAGES):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, source / name, ignore=ignored)
    with tarfile.open(build("sdist", source, directory)) as archive:
        archive.extractall(directory / "unpacked", filter="data")
    (unpacked,) = (directory / "unpacked").iterdir()
    wheel = build("wheel", unpacked, directory)

    home = directory / "environment"
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(python)]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    packages = sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})
    (Path(packages) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return home / "bin"


@contextlib.contextmanager
def script(installed: Path, name: str, cwd: Path, **settings: str) -> Iterator[Process]:
    program = str(installed / name)
    with processes.running(program=program, cwd=cwd, PYTHONPATH="", **settings) as process:
        yield process


def said(installed: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [installed / name, *arguments],
        cwd=installed,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=processes.PATIENCE_SECONDS,
        check=False,
    )


def test_the_wheel_is_built_by_what_is_pinned() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    (backend,) = project["build-system"]["requires"]
    assert backend in project["dependency-groups"]["dev"]
    assert backend in (REPOSITORY / "requirements-dev.txt").read_text()


def test_what_is_not_python_is_in_the_wheel_too(installed: Path) -> None:
    (packages,) = installed.parent.glob("lib/python*/site-packages")
    missing = {
        path.relative_to(REPOSITORY)
        for name in PACKAGES
        for path in (REPOSITORY / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
        if not (packages / path.relative_to(REPOSITORY)).exists()
    }
    assert missing == set()
    assert (packages / "gateway" / "client" / "chatkit-client.js").exists()


async def test_the_console_scripts_serve_from_any_directory_and_end_with_0(
    installed: Path, directory: Path, own_emulator: str
) -> None:
    address = f"127.0.0.1:{processes.free_port()}"
    with (
        script(
            installed,
            "chatkit-session-service",
            directory,
            SESSION_SERVICE_LISTEN=address,
            SESSION_SERVICE_METRICS_LISTEN="off",
            OPENAI_BASE_URL=f"{own_emulator}/v1",
            OPENAI_API_KEY="sk-e2e-0123456789abcdefghij",
            OPENAI_CHATKIT_WORKFLOW_ID=WORKFLOW,
        ) as service,
        script(
            installed,
            "chatkit-gateway",
            directory,
            GATEWAY_LISTEN="127.0.0.1:0",
            SESSION_SERVICE_TARGET=address,
            JWT_SECRET=SECRET,
        ) as gateway,
    ):
        service.wait_for(LISTENS["session_service"])
        url = "http://" + gateway.wait_for(LISTENS["gateway"])[1]
        async with open_dashboard(url) as dashboard:
            assert (await dashboard.create())["client_secret"]
            for path in ("/docs", "/chatkit-client.js"):
                assert (await dashboard.http.get(path)).status_code == 200
        assert gateway.stop() == 0, gateway.output
        assert service.stop() == 0, service.output
    assert (directory / "data" / "chatkit.db").exists()


@pytest.mark.parametrize("name", ["chatkit-gateway", "chatkit-session-service"])
def test_an_unknown_argument_is_refused_with_how_to_use_it(installed: Path, name: str) -> None:
    refused = said(installed, name, "--workers=4")
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"usage: {name} ")
    assert "unrecognized arguments: --workers=4" in refused.stderr


def test_a_console_script_tells_its_version(installed: Path) -> None:
    told = said(installed, "chatkit-gateway", "--version")
    assert (told.returncode, told.stdout) == (0, f"chatkit-backend {VERSION}\n")
