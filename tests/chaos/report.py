"""What a reader in a hurry is told: one row for each fault, and which promises were broken."""

from collections.abc import Sequence

from tests.chaos.verdict import Row

_WIDTHS = (27, 8, 8, 9, 4, 10, 7, 8)
_COLUMNS = (
    "fault",
    "requests",
    "answered",
    "succeeded",
    "lost",
    "unexpected",
    "p99 ms",
    "recovery",
)
HEAD = "  ".join(
    name.ljust(width) if number == 0 else name.rjust(width)
    for number, (name, width) in enumerate(zip(_COLUMNS, _WIDTHS, strict=True))
)


def line(row: Row) -> str:
    """Returns the row as it is shown when it is over, with what it broke below."""
    recovery = "-" if row.recovery_seconds is None else f"{row.recovery_seconds:.2f} s"
    cells = (
        row.name,
        f"{row.requests:,}",
        f"{row.answered:,}",
        f"{row.succeeded:,}",
        f"{row.lost:,}",
        f"{row.unexpected:,}",
        f"{row.p99_seconds * 1000:,.0f}",
        recovery,
    )
    shown = "  ".join(
        cell.ljust(width) if number == 0 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    )
    below = [f"    {note}" for note in row.notes]
    below += [f"    BROKEN: {promise}" for promise in row.broken]
    return "\n".join((shown, *below))


def summary(rows: Sequence[Row], seconds: float) -> str:
    """Returns the last lines."""
    requests = sum(row.requests for row in rows)
    lost = sum(row.lost for row in rows)
    unexpected = sum(row.unexpected for row in rows)
    failed = [row.name for row in rows if row.broken]
    verdict = f"BROKEN by: {', '.join(failed)}" if failed else "all promises kept"
    return (
        f"{len(rows)} faults in {seconds:.0f} s, {requests:,} requests,"
        f" {lost} lost, {unexpected} unexpected: {verdict}"
    )
