"""How long and how often is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int
    """Of those of which much is said; `few_rounds` of the rest."""
    few_rounds: int
    connections: int
    """Wherever as much as possible is to be answered."""
    seconds: float
    """Of one run."""
    sizes: tuple[int, int]
    """Of the stores whose statistics are asked for."""
    store_calls: int
    """For the statistics of each scope."""
    events: Mapping[int, int]
    """Of a run, by how many streams there are at once; but one answer of each stream at least."""
    relayed: Sequence[int]
    """How many streams of 50 events a second to try, until their delay grows."""
    relay_seconds: float


USUAL = Plan(
    rounds=5,
    few_rounds=3,
    connections=64,
    seconds=2.0,
    sizes=(1_000, 1_000_000),
    store_calls=2_000,
    events={1: 4_000, 20: 16_000, 100: 20_000},
    relayed=(20, 40, 60, 80, 100, 150, 200, 300, 400, 500),
    relay_seconds=8.0,
)
FULL = replace(USUAL, sizes=(1_000, 10_000_000))
QUICK = Plan(
    rounds=1,
    few_rounds=1,
    connections=64,
    seconds=0.5,
    sizes=(1_000, 50_000),
    store_calls=200,
    events={20: 4_000},
    relayed=(10,),
    relay_seconds=1.0,
)
