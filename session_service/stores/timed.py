"""Makes every call of a store a hop: a read or a write, with its wait for connection and disk."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from runtime.hops import Hop

S = TypeVar("S")


def timed(system: str) -> Callable[[type[S]], type[S]]:
    """Wraps the public coroutines of a class; `system` is as OpenTelemetry calls the database."""

    def decorate(store: type[S]) -> type[S]:
        for name, method in list(vars(store).items()):
            if inspect.iscoroutinefunction(method) and not name.startswith("_"):
                setattr(store, name, _timed(method, system, name))
        return store

    return decorate


def _timed(method: Callable[..., Any], system: str, operation: str) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        attributes: dict[str, str | int | float | bool] = {
            "db.system.name": system,
            "db.operation.name": operation,
        }
        with Hop("store", operation, attributes):
            return await method(*args, **kwargs)

    return call
