"""The protos as protoc understands them, and the comments in them as Markdown."""

import functools
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

_ROOT = Path(__file__).parents[2]
_CODE = re.compile(r"(`[^`]*`)")
_NAME = re.compile(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]*\*?")
"""Such as INVALID_API_KEY, or UPSTREAM_* for all that begin so."""


@functools.cache
def load_protos() -> Sequence[FileDescriptorProto]:
    """Returns the files of the contract, with their comments."""
    names = sorted(str(path.relative_to(_ROOT)) for path in _ROOT.glob("protos/chatkit/v1/*.proto"))
    with tempfile.TemporaryDirectory() as directory:
        into = Path(directory) / "descriptors"
        subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc", "-I."),
                *(f"--descriptor_set_out={into}", "--include_source_info"),
                *names,
            ],
            cwd=_ROOT,
            check=True,
        )
        return FileDescriptorSet.FromString(into.read_bytes()).file


def comment_of(file: FileDescriptorProto, path: Sequence[int]) -> str:
    """Returns the comment before something; the path is descriptor.proto's, of field numbers."""
    for location in file.source_code_info.location:
        if tuple(location.path) == tuple(path):
            return "\n".join(
                line.strip() for line in location.leading_comments.splitlines()
            ).strip()
    return ""


def prose(comment: str) -> str:
    """Returns a comment as Markdown, one paragraph a line."""
    paragraphs = re.split(r"\n\s*\n", comment)
    return "\n\n".join(_marked(" ".join(paragraph.split())) for paragraph in paragraphs)


def _marked(text: str) -> str:
    """Sets names as code, and lets nothing else be taken for markup."""
    parts = _CODE.split(text)
    parts[::2] = [
        "".join(
            f"`{part}`" if _NAME.fullmatch(part) else part.translate(_ESCAPES)
            for part in re.split(rf"({_NAME.pattern})", plain)
        )
        for plain in parts[::2]
    ]
    return "".join(parts)


_ESCAPES = str.maketrans({"<": "&lt;", "*": "\\*", "|": "\\|"})
