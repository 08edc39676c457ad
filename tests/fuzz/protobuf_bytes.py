"""Strategies for the bytes of protobuf messages, from their descriptors: right, nearly, and not."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

Descriptor: TypeAlias = Any
"""google.protobuf's, of which there are two, that types-protobuf does not take for one another."""
Known: TypeAlias = Mapping[str, Sequence[str | bytes]]
"""By the name of a field, values that mean something to the service."""

VARINT, FIXED64, LENGTH, GROUP, END_GROUP, FIXED32 = 0, 1, 2, 3, 4, 5

_INTEGERS = st.one_of(
    st.integers(-2, 400),
    st.sampled_from([2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 2**64 - 1, 253402300800]),
)
_TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", "\0", "7\0", " ", "x" * 256, "x" * 257, "\u202e", "🎉" * 64, "'; --", "%s"]
    ),
    st.integers(1_000, 300_000).map(lambda size: "y" * size),
)
_NO_UTF8 = st.sampled_from([b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"7\xf8"])
_RANDOM = st.binary(max_size=200)


def varint(number: int) -> bytes:
    """Returns the number, negative ones as protobuf has them: in two's complement of 64 bits."""
    number &= 2**64 - 1
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def delimited(number: int, data: bytes) -> bytes:
    return tag(number, LENGTH) + varint(len(data)) + data


def messages(descriptor: Descriptor, known: Known, depth: int = 0) -> st.SearchStrategy[bytes]:
    """Mostly what a caller might send, in any order, fields twice or not at all."""
    if depth > 3:
        return st.just(b"")
    fields = [_field(field, known, depth) for field in descriptor.fields]
    # Each field once, as a caller does, or whatever comes.
    whole = st.tuples(*fields).map(b"".join)
    some = st.lists(st.one_of(*fields), max_size=6).map(b"".join) if fields else st.just(b"")
    return st.one_of(whole, whole, some)


def hostile(descriptor: Descriptor, known: Known) -> st.SearchStrategy[bytes]:
    """What no library of protobuf would send, among what one would."""
    right = messages(descriptor, known)
    odd = st.one_of(
        _unknown_fields(),
        _wrong_wire_types(descriptor),
        _deep(),
        _many(descriptor),
        _RANDOM,
        st.just(b"\xff" * 11),  # a varint without an end
        st.just(tag(0, VARINT) + b"\0"),  # there is no field 0
        st.just(delimited(1, b"x")[:-1]),  # shorter than it says
        st.just(tag(1, LENGTH) + varint(2**63)),  # longer than anything
        st.just(tag(1, END_GROUP)),
    )
    return st.one_of(
        st.lists(st.one_of(right, odd), max_size=4).map(b"".join),
        st.tuples(right, st.integers(0, 40)).map(lambda cut: cut[0][: -cut[1] or None]),
    )


def _field(field: FieldDescriptor, known: Known, depth: int) -> st.SearchStrategy[bytes]:
    number = field.number
    match field.type:
        case FieldDescriptor.TYPE_MESSAGE:
            assert field.message_type
            value = messages(field.message_type, known, depth + 1)
            return value.map(lambda data: delimited(number, data))
        case FieldDescriptor.TYPE_STRING | FieldDescriptor.TYPE_BYTES:
            texts: st.SearchStrategy[bytes] = _TEXTS.map(str.encode)
            if field.name in known:
                values = [v.encode() if isinstance(v, str) else v for v in known[field.name]]
                meant = st.sampled_from(values)
                texts = st.one_of(meant, meant, meant, texts)
            return st.one_of(texts, texts, texts, _NO_UTF8).map(
                lambda data: delimited(number, data)
            )
        case FieldDescriptor.TYPE_DOUBLE:
            return st.floats().map(lambda n: tag(number, FIXED64) + struct.pack("<d", n))
        case FieldDescriptor.TYPE_BOOL:
            return st.sampled_from([0, 1, 2]).map(lambda n: tag(number, VARINT) + varint(n))
        case _:
            return _INTEGERS.map(lambda n: tag(number, VARINT) + varint(n))


def _unknown_fields() -> st.SearchStrategy[bytes]:
    numbers = st.sampled_from([50, 19_000, 2**29 - 1])
    return st.one_of(
        st.tuples(numbers, _RANDOM).map(lambda field: delimited(*field)),
        numbers.map(lambda number: tag(number, FIXED32) + b"abcd"),
        numbers.map(lambda number: tag(number, GROUP) + tag(number, END_GROUP)),
    )


def _wrong_wire_types(descriptor: Descriptor) -> st.SearchStrategy[bytes]:
    numbers = st.sampled_from([field.number for field in descriptor.fields])
    return st.tuples(numbers, st.integers(0, 7), _RANDOM).map(
        lambda field: tag(field[0], field[1]) + field[2]
    )


def _deep() -> st.SearchStrategy[bytes]:
    """Messages in messages, and groups, beyond what parsers go down to."""

    def nested(depth: int) -> bytes:
        data = b""
        for _ in range(depth):
            data = delimited(2, data)
        return data

    return st.one_of(
        st.sampled_from([50, 101, 3_000]).map(nested),
        st.just(tag(9, GROUP) * 5_000),
    )


def _many(descriptor: Descriptor) -> st.SearchStrategy[bytes]:
    """One field again and again: of a map or a list, entries of the smallest kind."""
    numbers = st.sampled_from([field.number for field in descriptor.fields])
    entries = st.integers(0, 20_000)
    one = st.tuples(numbers, entries).map(lambda field: delimited(field[0], b"") * field[1])
    keys = st.integers(60, 5_000).map(
        lambda count: b"".join(delimited(2, delimited(1, b"k%d" % n)) for n in range(count))
    )
    return st.one_of(one, keys)
