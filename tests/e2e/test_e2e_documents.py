"""The examples of the documents, run as they stand there."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import playwright
import pytest

from gateway.texts import TEXTS
from tests.e2e import processes
from tests.e2e.dashboard import token_of
from tests.e2e.processes import PATIENCE_SECONDS, REPOSITORY, SECRET, System

GATEWAY = "http://127.0.0.1:8080"
NODE = Path(playwright.__file__).parent / "driver" / "node"


def block(document: str, language: str, *, having: str) -> str:
    """Returns the one block of code in that language which has something in it."""
    text = (REPOSITORY / document).read_text()
    blocks = re.findall(rf"(?s)```{language}\n(.*?)```", text)
    (found,) = [code for code in blocks if having in code]
    return str(found)


@pytest.fixture(scope="module")
def with_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """What `make run MODE=self_hosted` starts where the agent of docs/self-hosted.md is."""
    directory = tmp_path_factory.mktemp("with_agent")
    example = block("docs/self-hosted.md", "python", having="function_tool")
    (directory / "movonte_agent.py").write_text(example)
    with processes.make_run(
        directory,
        CHATKIT_MODE="self_hosted",
        CHATKIT_AGENT="movonte_agent:agent",
        JWT_SECRET=SECRET,
    ) as system:
        yield system


def shell(script: str, system: System, directory: Path, **variables: str) -> str:
    """Runs a block as a person would paste it; a curl that fails, fails it. Returns its output."""
    (directory / ".curlrc").write_text("fail\nsilent\nshow-error\n")
    done = subprocess.run(
        ["bash", "-euc", script.replace(GATEWAY, system.url)],
        cwd=REPOSITORY,
        env=processes.environment(CURL_HOME=str(directory), TOKEN=system.token, **variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\n{system.process.output}"
    return done.stdout


def new_session(system: System, **body: object) -> dict[str, str]:
    data: dict[str, str] = post(system, "/session", system.token, body).json()["data"]
    return data


def post(system: System, path: str, bearer: str, body: object) -> httpx.Response:
    url, headers = f"{system.url}/api/chatkit{path}", {"Authorization": f"Bearer {bearer}"}
    with httpx.Client(trust_env=False, verify=False, timeout=PATIENCE_SECONDS) as http:
        answer = http.post(url, json=body, headers=headers)
    assert answer.status_code == 200, f"{answer.text}\n{system.process.output}"
    return answer


def said_by_the_agent(system: System, text: str, **user: object) -> str:
    """Returns the whole stream that answers a first message."""
    content = [{"type": "input_text", "text": text}]
    message = {"content": content, "attachments": [], "inference_options": {}}
    request = {"type": "threads.create", "params": {"input": message}}
    return post(system, "", new_session(system, **user)["client_secret"], request).text


def test_the_example_of_an_own_agent_knows_whose_tickets_are_asked_for(
    with_agent: System,
) -> None:
    answer = said_by_the_agent(with_agent, "call open_tickets", username="user7")
    assert "Open tickets of user7, whose id is 7: 12, 15" in answer
    answer = said_by_the_agent(with_agent, "call open_tickets")
    assert "Open tickets of the user, whose id is 7: 12, 15" in answer


def test_the_curl_lines_of_the_routes_work(with_agent: System, directory: Path) -> None:
    documented = block("docs/http.md", "bash", having="/session -H")
    protocol = block("docs/http.md", "bash", having="threads.list")
    assert GATEWAY in documented
    # They end a session and then go on with another.
    session, other = new_session(with_agent), new_session(with_agent)
    printed = shell(
        f"{documented}\nCLIENT_SECRET=$OTHER_SECRET\n{protocol}",
        with_agent,
        directory,
        CLIENT_SECRET=session["client_secret"],
        SESSION_ID=session["session_id"],
        OTHER_SECRET=other["client_secret"],
    )
    assert printed.count('"client_secret":"cksec_') == 2
    assert f'"id":"{session["session_id"]}","status":"deleted"' in printed
    assert '"totalSessions":' in printed
    assert '"has_more":' in printed
    assert '"name":"README.md","mime_type":"text/markdown"' in printed


def test_the_guides_check_of_a_migration_works(with_agent: System, directory: Path) -> None:
    check = block("docs/migration.md", "bash", having="chatkit-client.js")
    assert GATEWAY in check
    printed = shell(check, with_agent, directory)
    lines = printed.splitlines()
    assert lines[0] == 'const SERVED_MODE = "self_hosted";'
    events = [line for line in lines if line.startswith("data: ")]
    assert events[-1].startswith('data: {"type":"thread.updated"')
    assert re.search(r'"turns":[1-9]\d*,"failedTurns":0', lines[-1])


def test_the_client_secret_that_a_dashboard_gets_by_hand(system: System) -> None:
    """The block of docs/quickstart-react.md, in Node, with the browser's storage stood in for."""
    example = block("docs/quickstart-react.md", "js", having="getClientSecret")
    assert GATEWAY in example
    script = f"""
globalThis.localStorage = {{ getItem: () => process.env.TOKEN }};
{example.replace(GATEWAY, system.url)}
const first = await getClientSecret(null);
const second = await getClientSecret(first);
const third = await getClientSecret("ek_that_nobody_knows");
if (new Set([first, second, third]).size !== 3) throw new Error("not three secrets");
process.env.TOKEN = "";
await getClientSecret(null).then(
  () => {{ throw new Error("let in without a token"); }},
  (error) => console.log(error.message),
);
"""
    done = subprocess.run(
        [NODE, "--input-type=module"],
        input=script,
        env=processes.environment(TOKEN=token_of(7)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert TEXTS["UNAUTHENTICATED"].es.hint in done.stdout
