"""`make docs` writes the generated files; `--check` fails where one of them is stale."""

import argparse
import sys
from pathlib import Path

from docs.generator.configuration import configuration_page, example_file
from docs.generator.errors import errors_page
from docs.generator.grpc import grpc_page

ROOT = Path(__file__).parents[2]


def generate() -> dict[str, str]:
    """Returns every generated file: its path from the root of the repository, and its content."""
    return {
        ".env.example": example_file(),
        "docs/configuration.md": configuration_page(),
        "docs/errors.md": errors_page("en"),
        "docs/errors.es.md": errors_page("es"),
        "docs/grpc.md": grpc_page(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.generator", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = []
    for name, content in generate().items():
        path = ROOT / name
        if path.exists() and path.read_text("utf-8") == content:
            continue
        stale.append(name)
        if not check:
            path.write_text(content, "utf-8")
            print(f"{name} written")
    if check and stale:
        sys.exit(f"stale, run make docs: {', '.join(stale)}")


if __name__ == "__main__":
    main()
