"""Reads what Prometheus reads, and the files that tell it what to make of that."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

MONITORING = Path(__file__).parents[1] / "deploy" / "monitoring"
DASHBOARDS = MONITORING / "grafana" / "dashboards"

# `up` and `instance` are Prometheus's own, of each process that it scrapes.
_OF_PROMETHEUS = frozenset(("up", "ALERTS"))
_LABELS_OF_PROMETHEUS = frozenset(("job", "instance", "le", "alertname", "alertstate"))
_WORDS = frozenset(("and", "or", "unless", "by", "on", "ignoring", "without", "bool", "offset"))
_GROUPING = re.compile(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)")
_MATCHERS = re.compile(r"\{([^}]*)\}")
_TEXT = re.compile(r'"[^"]*"')
_RANGE = re.compile(r"\[[^\]]*\]")
_NAME = re.compile(r"(?<![\w:.$])([A-Za-z_:][\w:]*)\b(?!\s*\()")


@dataclass(frozen=True, slots=True)
class Scrape:
    """What a process has told at one moment."""

    families: tuple[Metric, ...]

    @classmethod
    def of(cls, *texts: str) -> "Scrape":
        return cls(tuple(one for text in texts for one in text_string_to_metric_families(text)))

    @property
    def samples(self) -> Iterator[Sample]:
        return (sample for family in self.families for sample in family.samples)

    @property
    def metrics(self) -> set[str]:
        """The names of all there are, those that nothing was counted in yet, too."""
        return {
            f"{family.name}_total" if family.type == "counter" else family.name
            for family in self.families
        }

    def value(self, name: str, **labels: str) -> float:
        """Returns the sum of all samples with these labels, 0 where there are none."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def values(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples if sample.name == name}

    @property
    def names(self) -> set[str]:
        """What may be asked for."""
        histograms = {family.name for family in self.families if family.type == "histogram"}
        parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}
        return parts | {sample.name for sample in self.samples}

    @property
    def labels(self) -> set[str]:
        return {label for sample in self.samples for label in sample.labels}


def promtool(*arguments: str | Path, text: str | None = None) -> str:
    """Runs promtool, and returns what it said. It must find nothing wrong."""
    local = Path(__file__).parents[1] / ".venv" / "bin" / "promtool"
    found = os.environ.get("PROMTOOL") or shutil.which("promtool") or str(local)
    done = subprocess.run([found, *arguments], input=text, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def rules(name: str) -> list[dict[str, Any]]:
    """Returns the rules of a file of deploy/monitoring."""
    groups = yaml.safe_load((MONITORING / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Returns the panels of all dashboards that ask something."""
    dashboards = [json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))]
    found = [panel for dashboard in dashboards for panel in dashboard["panels"]]
    return [panel for panel in found if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    """Yields all that alerts, recording rules and panels ask."""
    for rule in (*rules("recording.yml"), *rules("alerts.yml")):
        yield rule["expr"]
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])


def asked(expression: str) -> tuple[set[str], set[str]]:
    """Returns the metrics and the labels that an expression names, but for Prometheus's own."""
    bare = _TEXT.sub('""', expression)
    in_matchers = {
        re.split(r"[=!]", matcher)[0].strip()
        for matchers in _MATCHERS.findall(bare)
        for matcher in matchers.split(",")
        if matcher.strip()
    }
    in_groups = {label.strip() for labels in _GROUPING.findall(bare) for label in labels.split(",")}
    rest = _RANGE.sub("", _MATCHERS.sub("", _GROUPING.sub("", bare)))
    metrics = set(_NAME.findall(rest)) - _WORDS - _OF_PROMETHEUS
    return metrics, (in_matchers | in_groups) - _LABELS_OF_PROMETHEUS
