"""Reads the constants of a frozen TensorFlow graph without TensorFlow: a small reader of the protobuf wire format.

Only what GraphDef needs (tensorflow/core/framework/{graph,node_def,attr_value,tensor,tensor_shape}.proto): nodes with
name, operation and inputs, and the value of Const nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grape_dgl.errors import DataError

_DTYPES = {1: np.dtype("<f4"), 3: np.dtype("<i4")}
"""Numbers of DataType in types.proto."""
_FLOATS, _INTS, _CONTENT = 5, 7, 4
"""Fields of TensorProto that may hold the values."""


@dataclass(frozen=True)
class Node:
    """One operation; ``attributes`` are undecoded AttrValue messages."""

    name: str
    operation: str
    inputs: tuple[str, ...]
    attributes: dict[str, bytes]


def read_nodes(path: Path) -> list[Node]:
    """All nodes in the order of the file. Raises DataError where the file is no GraphDef."""
    try:
        nodes = [_node(bytes(value)) for number, value in fields(path.read_bytes()) if number == 1]
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror}") from error
    except (IndexError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"'{path}' is not a frozen TensorFlow graph ({error})") from error
    if not nodes:
        raise DataError(f"'{path}' holds no nodes; expected a frozen TensorFlow graph")
    return nodes


def constant(node: Node) -> np.ndarray:
    """Value of a Const node (float32 or int32)."""
    return _tensor(dict(fields(node.attributes["value"]))[8])


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, value) of a message: varints as non-negative int, all other wire types as bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(message, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(message):
            raise ValueError("a field ends after its message")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Seven bits a byte, least significant first; the value and the position behind it."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _node(message: bytes) -> Node:
    name, operation, inputs, attributes = "", "", list[str](), dict[str, bytes]()
    for number, value in fields(message):
        if number == 1:
            name = value.decode()
        elif number == 2:
            operation = value.decode()
        elif number == 3:
            inputs.append(value.decode())
        elif number == 5:
            entry = dict(fields(value))
            attributes[entry[1].decode()] = entry[2]
    return Node(name, operation, tuple(inputs), attributes)


def _tensor(message: bytes) -> np.ndarray:
    parts = dict[int, list[Any]]()
    for number, value in fields(message):
        parts.setdefault(number, []).append(value)
    dtype = _DTYPES[parts[1][0]]
    shape = _shape(parts[2][0]) if 2 in parts else ()
    if _CONTENT in parts:
        return np.frombuffer(parts[_CONTENT][0], dtype).reshape(shape)
    if _FLOATS in parts:
        values = np.frombuffer(b"".join(parts[_FLOATS]), dtype)
    else:
        values = np.array([_signed(value) for value in _numbers(parts.get(_INTS, [0]))], dtype)
    return np.full(shape, values[0]) if values.size == 1 else values.reshape(shape)  # one value fills the tensor


def _shape(message: bytes) -> tuple[int, ...]:
    return tuple(dict(fields(size)).get(1, 0) for number, size in fields(message) if number == 2)


def _numbers(values: list[Any]) -> Iterator[int]:
    """Varints of a repeated field, packed or one by one."""
    for value in values:
        if isinstance(value, int):
            yield value
            continue
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            yield number


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
