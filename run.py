"""`make run`: starts everything on this machine, says how to use it, and stops it all together.

Without OPENAI_API_KEY the built-in emulator stands in for OpenAI.
"""

import argparse
import asyncio
import contextlib
import datetime
import json
import os
import secrets
import signal
import socket
import sys
import time
import urllib.request
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import jwt
from dotenv import dotenv_values

from runtime.listening import reachable, state_of
from session_service.agent_builder import CLOSES, EMULATOR_KEY, is_closed, utc_today
from session_service.config import Settings

GRACE_SECONDS = 25.0
"""Longer than what the processes take to drain, so that they end by themselves."""
TOKEN_SECONDS = 7 * 24 * 60 * 60
TOKEN_USER = 7
EMULATOR_PORT = 8090
MODES = ("hosted", "self_hosted")
QUESTION = {
    "type": "threads.create",
    "params": {
        "input": {
            "content": [{"type": "input_text", "text": "Hola"}],
            "attachments": [],
            "inference_options": {},
        }
    },
}
"""What the ChatKit component sends with the first message."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of all processes, with what a first run lacks filled in."""

    settings: Mapping[str, str]
    emulator: str | None
    """Where the emulator listens, None where OpenAI itself is used."""
    made_secret: bool


def make_plan(given: Mapping[str, str]) -> Plan:
    """Adds to the settings that there are; never changes one. Exits where there is no such mode."""
    settings = {
        "GATEWAY_LISTEN": "127.0.0.1:8080",
        "SESSION_SERVICE_LISTEN": "127.0.0.1:50051",
        "CHATKIT_MODE": "hosted",
        **given,
    }
    if settings["CHATKIT_MODE"] not in MODES:
        raise SystemExit(
            f"There is no mode {settings['CHATKIT_MODE']!r}: it is {' or '.join(MODES)}, from"
            " `make run MODE=…` or else CHATKIT_MODE"
        )
    settings.setdefault("SESSION_SERVICE_TARGET", settings["SESSION_SERVICE_LISTEN"])
    made_secret = "JWT_SECRET" not in given and "JWT_JWKS_URL" not in given
    if made_secret:
        settings["JWT_SECRET"] = secrets.token_urlsafe(32)
    emulator = None
    if "OPENAI_API_KEY" not in given:
        emulator = f"127.0.0.1:{_free_port(EMULATOR_PORT)}"
        settings["OPENAI_API_KEY"] = EMULATOR_KEY
        settings["OPENAI_BASE_URL"] = f"http://{emulator}/v1"
        settings.setdefault("OPENAI_CHATKIT_WORKFLOW_ID", "wf_emulator")
        # A company's proxy is for what is outside.
        for name in ("NO_PROXY", "no_proxy"):
            settings[name] = ",".join(filter(None, ("127.0.0.1", given.get(name))))
    return Plan(settings, emulator, made_secret)


def introduction(plan: Plan, today: datetime.date) -> str:
    """Returns what a newcomer wants to know once everything runs."""
    settings = plan.settings
    address = f"http://{reachable(settings['GATEWAY_LISTEN'])}"
    token = _development_token(settings)
    openai = settings.get("OPENAI_BASE_URL", "https://api.openai.com/v1")
    if plan.emulator:
        openai = "the built-in emulator; for OpenAI itself put OPENAI_API_KEY into .env"
    lines = [
        "",
        "The ChatKit back end is ready.",
        "",
        f"  Address   {address}  (documentation at {address}/docs)",
        f"  OpenAI    {openai}",
        *_who_answers(settings, today),
        f"  Console   {address}/{f'#token={token}' if token else ''}",
        f"  Token     {token or 'ask the issuer at JWT_JWKS_URL for one'}",
    ]
    if token:
        secret = "a secret made for this run" if plan.made_secret else "your JWT_SECRET"
        lines.append(f"            (for development: user {TOKEN_USER}, 7 days, by {secret})")
    ask = (
        f"-X POST {address}/api/chatkit/session"
        f" -H 'Authorization: Bearer {token or 'YOUR_TOKEN'}'"
        f" -H 'Content-Type: application/json' -d '{{\"userId\": {TOKEN_USER}}}'"
    )
    lines += ["", "Ask for a client secret:", "", f"  curl {ask}"]
    if settings["CHATKIT_MODE"] == "self_hosted":
        pick = 'import json,sys; print(json.load(sys.stdin)["data"]["client_secret"])'
        lines += [
            "",
            "Say hello, and see the answer come bit by bit:",
            "",
            f"  SECRET=$(curl -s {ask} | python3 -c '{pick}')",
            f'  curl -N -X POST {address}/api/chatkit -H "Authorization: Bearer $SECRET"'
            f" -H 'Content-Type: application/json' -d '{json.dumps(QUESTION)}'",
        ]
    lines += ["", "Ctrl-C stops everything.", ""]
    return "\n".join(lines)


def _who_answers(settings: Mapping[str, str], today: datetime.date) -> list[str]:
    if settings["CHATKIT_MODE"] == "self_hosted":
        model = settings.get("CHATKIT_MODEL", Settings.model_fields["chatkit_model"].default)
        agent = settings.get("CHATKIT_AGENT")
        return [
            "  Mode      self_hosted: this back end answers by itself",
            f"  Agent     {agent}" if agent else f"  Model     {model}",
        ]
    workflow = settings.get(
        "OPENAI_CHATKIT_WORKFLOW_ID", "none yet: put OPENAI_CHATKIT_WORKFLOW_ID=wf_… into .env"
    )
    end = f"OpenAI closed Agent Builder on {CLOSES}; `make run MODE=self_hosted` does without it"
    if not is_closed(today):
        end = (
            f"until OpenAI closes Agent Builder on {CLOSES};"
            " `make run MODE=self_hosted` goes on after it"
        )
    return [
        "  Mode      hosted: a workflow at OpenAI answers",
        f"            ({end})",
        f"  Workflow  {workflow}",
    ]


async def run(plan: Plan) -> int:
    """Runs until Ctrl-C, SIGTERM, or the end of one process. Returns the exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    processes = {name: await _start(plan, name, *args) for name, *args in _commands(plan)}
    stopped = asyncio.create_task(stop.wait())
    ends = [asyncio.create_task(process.wait()) for process in processes.values()]
    ready = asyncio.create_task(_wait_until_ready(plan.settings["GATEWAY_LISTEN"]))
    ready.add_done_callback(
        lambda task: task.cancelled() or print(introduction(plan, utc_today()), flush=True)
    )
    await asyncio.wait([stopped, *ends], return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    dead = [name for name, process in processes.items() if process.returncode is not None]
    await _stop(list(processes.values()))
    if stop.is_set():
        print("Everything has stopped.", flush=True)
        return 0
    stopped.cancel()
    print(f"{' and '.join(dead)} stopped, and so has everything else.", file=sys.stderr)
    return 1


def _commands(plan: Plan) -> Iterator[tuple[str, ...]]:
    if plan.emulator:
        yield "session_service.openai_emulator", "--listen", plan.emulator
    yield ("session_service",)
    yield ("gateway",)


async def _start(plan: Plan, module: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, env=plan.settings, preexec_fn=_leave_ctrl_c_to_us
    )


def _leave_ctrl_c_to_us() -> None:
    """Runs in a new process: the terminal tells all of them, and its imports would break off."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


async def _stop(processes: Sequence[asyncio.subprocess.Process]) -> None:
    """Stops callers before those they call, so that each can finish what it has begun."""
    try:
        async with asyncio.timeout(GRACE_SECONDS):
            for process in reversed(processes):
                with contextlib.suppress(ProcessLookupError):  # it has stopped by itself
                    process.terminate()
                await process.wait()
    except TimeoutError:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


async def _wait_until_ready(address: str) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def is_ready() -> bool:
        try:
            with direct.open(f"http://{address}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:  # urllib's errors are ones
            return False

    while not await asyncio.to_thread(is_ready):  # noqa: ASYNC110  # another process is asked
        await asyncio.sleep(0.1)


def _development_token(settings: Mapping[str, str]) -> str | None:
    """Returns a token as the dashboard makes them, None where another's key signs them."""
    secret = settings.get("JWT_SECRET")
    if secret is None:
        return None
    now = int(time.time())
    claims: dict[str, object] = {
        settings.get("JWT_USER_CLAIM", "userId"): TOKEN_USER,
        "iat": now,
        "exp": now + TOKEN_SECONDS,
    }
    for claim, setting in (("iss", "JWT_ISSUER"), ("aud", "JWT_AUDIENCE")):
        if setting in settings:
            claims[claim] = settings[setting]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)  # the gateway says it
        return jwt.encode(claims, secret, algorithm="HS256")


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


def refuse_taken(settings: Mapping[str, str]) -> None:
    """Exits where somebody listens already, whose answers would be taken for those of this run."""
    for name in ("GATEWAY_LISTEN", "SESSION_SERVICE_LISTEN"):
        with contextlib.suppress(ValueError):  # no address: the process itself says so
            if state_of(settings[name])[0] == "taken":
                raise SystemExit(
                    f"{settings[name]} is taken, perhaps by another `make run`:"
                    f" stop that, or choose another address with {name}=127.0.0.1:PORT"
                )


def main() -> int:
    argparse.ArgumentParser(prog="make run", description=__doc__).parse_args()
    given = {**dotenv_values(".env"), **{k: v for k, v in os.environ.items() if v}}
    plan = make_plan({key: value for key, value in given.items() if value})
    refuse_taken(plan.settings)
    return asyncio.run(run(plan))


if __name__ == "__main__":
    sys.exit(main())
