"""What is said of the end of Agent Builder, on which day."""

import datetime

import pytest
from structlog.testing import capture_logs

from session_service.agent_builder import (
    CLOSES,
    announce,
    announce_missing_workflow,
    is_closed,
    workflow_not_found,
)

LONG_BEFORE = datetime.date(2026, 11, 22)
THE_DAY_BEFORE = datetime.date(2026, 11, 29)
THE_DAY = datetime.date(2026, 11, 30)
LONG_AFTER = datetime.date(2027, 6, 1)


def test_the_day_is_openais() -> None:
    assert CLOSES == THE_DAY
    days = (LONG_BEFORE, THE_DAY_BEFORE, THE_DAY, LONG_AFTER)
    assert [is_closed(day) for day in days] == [False, False, True, True]


@pytest.mark.parametrize("say", [announce, announce_missing_workflow])
@pytest.mark.parametrize(("today", "left"), [(LONG_BEFORE, 8), (THE_DAY_BEFORE, 1)])
def test_before_the_day_it_says_how_many_are_left_and_what_to_do(
    say: object, today: datetime.date, left: int
) -> None:
    assert callable(say)
    with capture_logs() as captured:
        say(today)
    (line,) = captured
    assert line["log_level"] == "warning"
    assert "AGENT BUILDER IS CLOSING" in line["event"]
    assert (line["closes"], line["days_left"]) == ("2026-11-30", left)
    assert "CHATKIT_MODE=self_hosted" in line["remedy"]
    assert "docs/migration.md" in line["remedy"]


@pytest.mark.parametrize("say", [announce, announce_missing_workflow])
@pytest.mark.parametrize("today", [THE_DAY, LONG_AFTER])
def test_from_the_day_on_it_says_that_it_has_closed_and_how_to_move(
    say: object, today: datetime.date
) -> None:
    assert callable(say)
    with capture_logs() as captured:
        say(today)
    (line,) = captured
    assert line["log_level"] == "warning"
    assert "AGENT BUILDER HAS CLOSED" in line["event"]
    assert line["closes"] == "2026-11-30"
    assert "days_left" not in line
    assert "CHATKIT_MODE=self_hosted" in line["remedy"]


def test_a_workflow_that_is_not_there_has_a_cause_from_the_day_on() -> None:
    for today in (LONG_BEFORE, THE_DAY_BEFORE):
        assert workflow_not_found(today).metadata == {}
    for today in (THE_DAY, LONG_AFTER):
        error = workflow_not_found(today)
        assert error.metadata == {"cause": "closed"}
        assert str(error).startswith("Workflow not found: Agent Builder closed on 2026-11-30")
        assert "CHATKIT_MODE=self_hosted" in str(error)
