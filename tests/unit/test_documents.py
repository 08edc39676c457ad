"""Every document: links lead somewhere, and blocks of code are what they say they are."""

import ast
import json
import re
import subprocess
from pathlib import Path

import playwright
import pytest
import yaml

from gateway.routes import ROUTES
from tests.documents import DOCUMENTS, ROOT, SETTINGS, anchors, blocks, read

NODE = Path(playwright.__file__).parent / "driver" / "node"
NOT_OURS = {"CHATKIT_ADDRESS", "CHATKIT_TOKEN", "POSTGRES_PASSWORD"}
"""Of the examples for internal services, and of docker-compose.yml alone."""

ROUTE = "/(?:api|chatkit|docs|healthz|metrics|openapi|readyz)"
"""How every path of the gateway begins."""

CODE = [
    pytest.param(name, language, code, id=f"{name}-{index}-{language}")
    for name in DOCUMENTS
    for index, (language, code) in enumerate(blocks(read(name)))
]

# jsx, html, diff and http are for the reader; a console shows what was printed; modules of Go
# are not to be had everywhere: what its example names is looked up in tests/integration.
UNCHECKED = {"go", "jsx", "html", "diff", "http", "console"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_and_headings_that_exist(name: str) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", "", read(name))
    for target, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), target
        assert not heading or heading in anchors(path.read_text("utf-8")), heading


def test_every_document_that_the_code_names_exists() -> None:
    named = re.compile(r"(?<![\w/.-])((?:[\w-]+/)*[\w.-]+\.md)\b(?:#([\w-]+))?")
    folders = ("chatkit_client", "deploy", "gateway", "protos", "runtime", "session_service")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    found = [
        (path, *match)
        for path in (*files, *ROOT.glob("*.py"), *ROOT.glob("*.yml"), ROOT / "Dockerfile")
        if path.suffix in ("", ".js", ".json", ".html", ".proto", ".py", ".yaml", ".yml")
        if path.is_file()
        for match in named.findall(path.read_text("utf-8"))
    ]
    assert found
    for path, name, heading in found:
        assert (ROOT / name).exists(), f"{path} names {name}"
        assert not heading or heading in anchors(read(name)), f"{path} names {name}#{heading}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_fence_says_its_language_and_is_closed(name: str) -> None:
    fences = re.findall(r"(?m)^```(.*)$", read(name))
    assert all(fences[::2])
    assert not any(fences[1::2])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_that_is_mentioned_exists(name: str) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):.*##", read("Makefile")))
    assert set(re.findall(r"(?:`|\$ )make ([a-z-]+)", read(name))) <= targets


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_setting_that_is_mentioned_exists(name: str) -> None:
    prefixes = "ADMIN|CHATKIT|CORS|DATABASE|GATEWAY|JWT|LOG|OPENAI|POSTGRES|SESSION_SERVICE"
    mentioned = set(re.findall(rf"\b(?:{prefixes})_[A-Z_]+[A-Z]\b", read(name)))
    assert mentioned <= SETTINGS | NOT_OURS


@pytest.mark.parametrize(("name", "language", "code"), CODE)
def test_a_block_of_code_is_what_it_says_it_is(name: str, language: str, code: str) -> None:
    match language:
        case "python":
            ast.parse(code)
        case "json":
            json.loads(code)
        case "yaml":
            yaml.safe_load(code)
        case "ini":
            lines = [line for line in code.splitlines() if not line.startswith("#")]
            names = [line.partition("=")[0] for line in lines]
            assert lines
            assert set(names) <= SETTINGS | NOT_OURS
        case "bash":
            checked = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True)
            assert checked.returncode == 0, checked.stderr
        case "js":
            checked = subprocess.run(
                [NODE, "--input-type=module", "--check"],
                input=code,
                capture_output=True,
                text=True,
            )
            assert checked.returncode == 0, checked.stderr
        case _:
            assert language in UNCHECKED


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_route_that_is_called_exists(name: str) -> None:
    code = "".join(code for _, code in blocks(read(name)))
    code = code.replace("$BASE", "http://127.0.0.1:8080/api/chatkit")
    code = code.replace("${GATEWAY}", "http://127.0.0.1:8080")
    code = code.replace("$GATEWAY", "http://127.0.0.1:8080")
    for path in re.findall(rf"(?:127\.0\.0\.1:8080|\")({ROUTE}[^\s\"'`?)]*)", code):
        path = re.sub(r"\$(\{\w+\}|\w+)", "x", path)
        assert any(route.path_regex.match(path) for route in ROUTES), path
