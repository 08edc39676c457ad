"""docs/grpc.md, from the protos and the comments in them."""

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    MethodOptions,
    ServiceDescriptorProto,
)

from docs.generator.comments import comment_of, load_protos, prose

_PACKAGE = ".chatkit.v1."
_INTRODUCTION = """\
# gRPC reference

<!-- Made by `make docs` from protos/chatkit/v1/*.proto. -->

Package `chatkit.v1`. The session service listens at `SESSION_SERVICE_LISTEN`, with server
reflection and `grpc.health.v1`. [internal-services.md](internal-services.md) has examples in
several languages, [transport.md](transport.md) says how callers prove who they are,
[errors.md](errors.md) lists the reasons that calls fail with.

| service | for |
|---|---|"""

# Field numbers of descriptor.proto, of which the paths of comments are made.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_METHOD = 2
_FIELD = 2
_VALUE = 2

_Path = tuple[int, ...]


def grpc_page() -> str:
    """Returns all services, messages and enums of the contract."""
    # From what most callers need to what only the gateway does; the reasons are another page.
    files = sorted((file for file in load_protos() if file.service), key=_calls, reverse=True)
    lines = [_INTRODUCTION]
    for file in files:
        for index, service in enumerate(file.service):
            first = prose(comment_of(file, (_FILE_SERVICE, index))).partition("\n")[0]
            lines.append(f"| [{service.name}](#{service.name.lower()}) | {first} |")
    lines.append("")
    for file in files:
        lines += _file(file)
    return "\n".join(lines)


def _calls(file: FileDescriptorProto) -> int:
    return sum(len(service.method) for service in file.service)


def _file(file: FileDescriptorProto) -> Iterator[str]:
    for index, service in enumerate(file.service):
        yield from _service(file, service, (_FILE_SERVICE, index))
    for index, message in enumerate(file.message_type):
        yield from _message(file, message, (_FILE_MESSAGE, index))
    for index, enum in enumerate(file.enum_type):
        yield from _enum(file, enum, (_FILE_ENUM, index))


def _said(file: FileDescriptorProto, path: _Path) -> Iterator[str]:
    if comment := comment_of(file, path):
        yield f"{prose(comment)}\n"


def _service(
    file: FileDescriptorProto, service: ServiceDescriptorProto, path: _Path
) -> Iterator[str]:
    yield f"## {service.name}\n"
    yield f"In [`{file.name}`](../{file.name}).\n"
    yield from _said(file, path)
    for index, method in enumerate(service.method):
        yield f"### {service.name}/{method.name}\n"
        yield f"{_signature(method)}\n"
        yield from _said(file, (*path, _METHOD, index))


def _signature(method: MethodDescriptorProto) -> str:
    request = f"{'stream of ' if method.client_streaming else ''}{_type(method.input_type)}"
    response = f"{'stream of ' if method.server_streaming else ''}{_type(method.output_type)}"
    level = {
        MethodOptions.NO_SIDE_EFFECTS: " · reads only",
        MethodOptions.IDEMPOTENT: " · can be repeated",
    }.get(method.options.idempotency_level, "")
    return f"{request} → {response}{level}"


def _message(file: FileDescriptorProto, message: DescriptorProto, path: _Path) -> Iterator[str]:
    yield f"### {message.name}\n"
    yield from _said(file, path)
    if not message.field:
        yield "No fields.\n"
        return
    yield "| field | type | |"
    yield "|---|---|---|"
    for index, field in enumerate(message.field):
        comment = prose(comment_of(file, (*path, _FIELD, index))).replace("\n\n", " ")
        if field.HasField("oneof_index") and not field.proto3_optional:
            choice = f"One of `{message.oneof_decl[field.oneof_index].name}`."
            comment = f"{choice} {comment}".strip()
        yield f"| `{field.name}` | {_field_type(message, field)} | {comment} |"
    yield ""


def _field_type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    for nested in message.nested_type:
        if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
            key, value = nested.field
            return f"map of {_field_type(nested, key)} to {_field_type(nested, value)}"
    named = _type(field.type_name) if field.type_name else f"`{_scalar(field)}`"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {named}"
    return f"optional {named}" if field.proto3_optional else named


def _scalar(field: FieldDescriptorProto) -> str:
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _type(name: str) -> str:
    if name.startswith(_PACKAGE):
        short = name.removeprefix(_PACKAGE)
        return f"[{short}](#{short.lower()})"
    return f"`{name.removeprefix('.')}`"


def _enum(file: FileDescriptorProto, enum: EnumDescriptorProto, path: _Path) -> Iterator[str]:
    yield f"### {enum.name}\n"
    yield from _said(file, path)
    yield "| value | number | |"
    yield "|---|---|---|"
    for index, value in enumerate(enum.value):
        comment = prose(comment_of(file, (*path, _VALUE, index))).replace("\n\n", " ")
        yield f"| `{value.name}` | {value.number} | {comment} |"
    yield ""
