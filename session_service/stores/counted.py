"""Whose counters a process has changed, told to those in it who follow them."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

from session_service.stores.changes import Changes

Heard: TypeAlias = Callable[[frozenset[str]], None]
"""Takes the scopes of one commit: user ids, and EVERYBODY."""


class Counted:
    """Of one store. Costs next to nothing while nobody follows."""

    def __init__(self) -> None:
        self._followers: list[Heard] = []

    @contextlib.contextmanager
    def followed_by(self, heard: Heard) -> Iterator[None]:
        self._followers.append(heard)
        try:
            yield
        finally:
            self._followers.remove(heard)

    def scopes(self, changes: Changes) -> frozenset[str]:
        """Returns what there is to `tell` of a transaction, from any thread."""
        return changes.scopes() if self._followers else frozenset()

    def tell(self, scopes: frozenset[str]) -> None:
        """Called in the event loop, once they are committed."""
        if scopes:
            for heard in self._followers:
                heard(scopes)
