"""Looks at a database without opening it as a store: nothing is made, migrated or changed."""

import asyncio
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import asyncpg

from session_service.stores import postgres_schema, sqlite_schema
from session_service.stores.postgres_database import DRIVER_ERRORS, connect, description
from session_service.stores.sqlite_file import look_into
from session_service.stores.sqlite_schema import ForeignDatabase

_SECONDS = 6.0
_BUSY_SECONDS = 2.0

Problem = Literal[
    "credentials",
    "damaged",
    "encoding",
    "foreign",
    "locked",
    "no_database",
    "read_only",
    "unreachable",
    "unwritable",
]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found."""

    known: int
    """The newest schema that this release knows."""
    schema: int = 0
    """That of the database, 0 where there are no tables yet: a service makes them at its start."""
    problem: Problem | None = None
    """Why a service could not use the database."""
    said: str = ""
    """The database's own words for it."""


async def inspect(url: str) -> Inspection:
    """Looks at the database at `sqlite:///…` or `postgresql://…`, for a few seconds at most."""
    if url.startswith("sqlite:///"):
        return await asyncio.to_thread(_inspect_file, Path(url.removeprefix("sqlite:///")))
    return await _inspect_postgres(url)


def existing_folder(path: Path) -> Path:
    """Returns the first folder above `path`, or itself, that is there already."""
    return next(
        (folder for folder in (path, *path.absolute().parents) if folder.is_dir()), Path("/")
    )


def check_folder(folder: Path) -> None:
    """Raises OSError where no file can be made in it, or in the first above it that is there."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(20, "Not a directory")
    # Permissions do not tell: the disk can be read-only, or full.
    with tempfile.TemporaryFile(dir=existing_folder(folder)) as file:
        file.write(b"0")


def _inspect_file(path: Path) -> Inspection:
    known = len(sqlite_schema.MIGRATIONS)
    try:
        if not path.exists():
            check_folder(path.parent)
            return Inspection(known)
        return Inspection(known, look_into(str(path), _BUSY_SECONDS))
    except ForeignDatabase as error:
        return Inspection(known, problem="foreign", said=str(error))
    except sqlite3.Error as error:
        return Inspection(known, problem=_problem_of(error), said=str(error))
    except OSError as error:
        return Inspection(known, problem="unwritable", said=error.strerror or str(error))


def _problem_of(error: sqlite3.Error) -> Problem:
    match error.sqlite_errorcode & 0xFF:
        case sqlite3.SQLITE_BUSY:
            return "locked"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return "damaged"
    return "unwritable"


_LOOK = """
SELECT current_setting('server_encoding'),
       current_setting('transaction_read_only') = 'on' OR pg_is_in_recovery(),
       to_regclass('schema_version') IS NOT NULL,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)
"""
_LOOK_AT_OURS = """
SELECT (SELECT version FROM schema_version),
       has_table_privilege('schema_version', 'UPDATE')
"""


async def _inspect_postgres(url: str) -> Inspection:
    known = len(postgres_schema.MIGRATIONS)
    try:
        async with asyncio.timeout(_SECONDS):
            connection = await connect(url, _SECONDS)
            try:
                return await _look_at(connection, known)
            finally:
                await connection.close()
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError) as error:
        return Inspection(known, problem="credentials", said=description(error))
    except asyncpg.InvalidCatalogNameError as error:
        return Inspection(known, problem="no_database", said=description(error))
    except asyncpg.InsufficientPrivilegeError as error:
        return Inspection(known, problem="unwritable", said=description(error))
    # The last two are of a wrong option or port in the address.
    except (*DRIVER_ERRORS, ValueError, OverflowError) as error:
        return Inspection(known, problem="unreachable", said=description(error))


async def _look_at(connection: "asyncpg.Connection[asyncpg.Record]", known: int) -> Inspection:
    ((encoding, is_read_only, is_ours, may_create),) = await connection.fetch(_LOOK)
    if encoding != "UTF8":
        return Inspection(known, problem="encoding", said=encoding)
    if is_read_only:
        return Inspection(known, problem="read_only")
    if not is_ours:
        return Inspection(known, problem=None if may_create else "unwritable")
    ((version, may_write),) = await connection.fetch(_LOOK_AT_OURS)
    return Inspection(known, version or 0, problem=None if may_write else "unwritable")
