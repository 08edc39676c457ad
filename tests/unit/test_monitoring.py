"""The files that tell Prometheus and Grafana what to look at, as promtool and the code have it."""

import json
import re
from typing import Any

import pytest

from tests.documents import ROOT, anchors
from tests.prometheus_support import (
    DASHBOARDS,
    MONITORING,
    asked,
    panels,
    promtool,
    rules,
)

ALERTS = rules("alerts.yml")


def test_prometheus_takes_its_configuration_and_its_rules() -> None:
    # Without a look for the token, which is there in the container alone.
    promtool("check", "config", "--syntax-only", MONITORING / "prometheus.yml")
    promtool("check", "rules", MONITORING / "recording.yml", MONITORING / "alerts.yml")


def test_each_alert_fires_when_it_should_and_no_other_does() -> None:
    said = promtool("test", "rules", MONITORING / "alerts_test.yml")
    assert "SUCCESS" in said
    tested = set(re.findall(r'alertname="(\w+)"', (MONITORING / "alerts_test.yml").read_text()))
    assert tested == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_whoever_is_alerted_is_told_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "description", "remedy", "runbook"}
    file, _, heading = rule["annotations"]["runbook"].partition("#")
    assert (ROOT / file).exists()
    assert not heading or heading in anchors((ROOT / file).read_text())


def test_what_is_recorded_is_what_is_asked_for() -> None:
    recorded = {rule["record"] for rule in rules("recording.yml")}
    used = {name for rule in ALERTS for name in asked(rule["expr"])[0] if ":" in name}
    assert used <= recorded


def test_the_dashboard_has_a_row_for_each_part_and_no_panel_over_another() -> None:
    (path,) = DASHBOARDS.glob("*.json")
    found = json.loads(path.read_text())["panels"]
    rows = [panel["title"] for panel in found if panel["type"] == "row"]
    assert len(rows) == len(set(rows)) == 6
    assert len({panel["id"] for panel in found}) == len(found)
    taken: set[tuple[int, int]] = set()
    for panel in found:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_query_of_the_dashboard_is_one_that_prometheus_understands(tmp_path: Any) -> None:
    groups = [
        {
            "name": "dashboard",
            "rules": [
                # What Grafana puts in for its variable.
                {"record": f"panel:{n}", "expr": expression.replace("$__rate_interval", "1m")}
                for n, expression in enumerate(
                    target["expr"] for panel in panels() for target in panel["targets"]
                )
            ],
        }
    ]
    file = tmp_path / "dashboard.yml"
    file.write_text(json.dumps({"groups": groups}))
    promtool("check", "rules", file)
