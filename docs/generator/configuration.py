"""docs/configuration.md and `.env.example`, from the settings of both processes."""

import textwrap
from collections.abc import Callable, Iterator, Mapping

import gateway.config
import session_service.config
from runtime.setting_descriptions import Setting, describe
from runtime.settings import ProcessSettings

_PROCESSES: Mapping[str, type[ProcessSettings]] = {
    "gateway": gateway.config.Settings,
    "session service": session_service.config.Settings,
}

_FIRST = ("OPENAI_API_KEY", "OPENAI_CHATKIT_WORKFLOW_ID", "JWT_SECRET")
"""What has to be filled in before anything else."""

_INTRODUCTION = """\
# Configuration

<!-- Made by `make docs` from gateway/config.py and session_service/config.py. -->

Settings come from the environment or from `.env`. The environment wins. An empty value counts as
absent. A process with bad settings names all of them and does not start. Settings are read at
start: to change one, restart. `python -m gateway --help` and `python -m session_service --help`
say the same as this page. [En español](configuration.es.md)

The documented two, for hosted mode, and the secret that your dashboard signs its tokens with:

```ini
OPENAI_API_KEY=sk-…
OPENAI_CHATKIT_WORKFLOW_ID=wf_…
JWT_SECRET=at-least-32-random-bytes
```

[`.env.example`](../.env.example) has every setting, ready to be copied to `.env`.
"""


def _begins(*prefixes: str) -> Callable[[Setting], bool]:
    return lambda setting: setting.name.startswith(prefixes)


_GROUPS: Mapping[str, Callable[[Setting], bool]] = {
    "Chat, in self-hosted mode": lambda setting: setting.meaning.startswith("Self-hosted mode:"),
    "OpenAI and the mode": _begins("OPENAI_", "CHATKIT_MODE"),
    "Users": _begins("JWT_", "ADMIN_", "CORS_"),
    "Chat, in both modes": _begins("CHATKIT_"),
    "Between gateway and session service": _begins("SESSION_SERVICE_"),
    "Logs, metrics and traces": _begins("LOG_", "METRICS_", "OTEL_"),
    "Processes": lambda setting: True,
}
"""The first that a setting is in counts."""

_ORDER = (
    "OpenAI and the mode",
    "Users",
    "Chat, in both modes",
    "Chat, in self-hosted mode",
    "Processes",
    "Between gateway and session service",
    "Logs, metrics and traces",
)

_NOTES = {
    "Chat, in self-hosted mode": "In hosted mode they are checked, without effect. See"
    " [self-hosted.md](self-hosted.md).",
    "Processes": "`DATABASE_URL` with PostgreSQL: see [postgresql.md](postgresql.md).",
    "Logs, metrics and traces": "What to watch: see [operations.md](operations.md#what-to-watch).",
    "Between gateway and session service": "Certificates and tokens, step by step: see"
    " [transport.md](transport.md).",
}


def configuration_page() -> str:
    """Returns the reference, by what settings are about."""
    return "\n".join((_INTRODUCTION, *_sections()))


def example_file() -> str:
    """Returns what one copies to `.env`: every setting, with its default or an example."""
    lines = [
        "# Copy to .env and fill in. The environment wins over .env; an empty value is absent."
    ]
    lines += ["# Made by `make docs`; docs/configuration.md has the same as a page."]
    for heading, settings in _grouped():
        lines += ["", f"# {heading}", ""]
        for setting, _ in settings:
            lines += textwrap.wrap(
                _meaning(setting, example=False).replace("`", ""),
                98,
                initial_indent="# ",
                subsequent_indent="# ",
            )
            value = f"{setting.name}={setting.example}"
            lines.append(f"{setting.name}=" if setting.name in _FIRST else f"#{value}")
    return "\n".join(lines) + "\n"


def _grouped() -> Iterator[tuple[str, list[tuple[Setting, str]]]]:
    """Yields each group with its settings, and which process reads them."""
    readers: dict[Setting, list[str]] = {}
    for process, settings in _PROCESSES.items():
        for setting in describe(settings):
            readers.setdefault(setting, []).append(process)
    groups: dict[str, list[tuple[Setting, str]]] = {heading: [] for heading in _ORDER}
    for setting, processes in readers.items():
        heading = next(name for name, belongs in _GROUPS.items() if belongs(setting))
        groups[heading].append((setting, "both" if len(processes) > 1 else processes[0]))
    yield from groups.items()


def _sections() -> Iterator[str]:
    for heading, settings in _grouped():
        yield f"## {heading}\n"
        if note := _NOTES.get(heading):
            yield f"{note}\n"
        yield "| setting | default | read by | meaning |"
        yield "|---|---|---|---|"
        for setting, reader in settings:
            default = f"`{setting.default}`" if setting.default else "none"
            meaning = _meaning(setting, example=True).replace("|", "\\|")
            yield f"| `{setting.name}` | {default} | {reader} | {meaning} |"
        yield ""


def _meaning(setting: Setting, *, example: bool) -> str:
    said = setting.meaning
    if setting.values:
        said += f" Takes: {setting.values}."
    if example and setting.example != setting.default:
        said += f" Example: `{setting.example}`."
    return said
