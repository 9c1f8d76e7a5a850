"""A slow, obvious interpreter of frozen TensorFlow graphs in numpy, the independent twin of `features.dna`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from grape_dgl.features.frozen_graph import Node, constant, fields


def run(nodes: Mapping[str, Node], name: str, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Value of a node, computed operation by operation as the TensorFlow documentation describes them."""
    pending = [name]
    while pending:  # depth first without recursion: the graph is thousands of operations deep
        node = nodes[pending[-1]]
        if node.name in feeds:
            pending.pop()
            continue
        names = [source.partition(":")[0] for source in node.inputs if not source.startswith("^")]
        if missing := [source for source in names if source not in feeds]:
            pending += missing
            continue
        feeds[node.name] = _compute(node, [feeds[source] for source in names])
        pending.pop()
    return feeds[name]


def _compute(node: Node, x: list[np.ndarray]) -> np.ndarray:
    match node.operation:
        case "Const":
            return constant(node)
        case "Identity":
            return x[0]
        case "AddV2" | "BiasAdd":
            return x[0] + x[1]
        case "Sub":
            return x[0] - x[1]
        case "Mul":
            return x[0] * x[1]
        case "RealDiv":
            return x[0] / x[1]
        case "FloorMod":
            return np.mod(x[0], x[1])
        case "Rsqrt":
            return 1 / np.sqrt(x[0])
        case "Relu":
            return np.maximum(x[0], 0)
        case "Exp":
            return np.exp(x[0])
        case "Max" | "Sum" | "Mean":
            reduce = {"Max": np.max, "Sum": np.sum, "Mean": np.mean}[node.operation]
            return reduce(x[0], axis=tuple(np.atleast_1d(x[1])), keepdims=_flag(node, "keep_dims"))
        case "Shape":
            return np.array(x[0].shape, dtype=np.int32)
        case "Pack":
            return np.stack(x, axis=_number(node, "axis"))
        case "ExpandDims":
            return np.expand_dims(x[0], int(x[1]))
        case "Squeeze":
            return np.squeeze(x[0], axis=tuple(_list(node, "squeeze_dims")))
        case "StridedSlice":
            return _strided_slice(node, *x)
        case "SpaceToBatchND":
            return _space_to_batch(*x)
        case "BatchToSpaceND":
            return _batch_to_space(*x)
        case "Conv2D":
            return _convolve(x[0], x[1], _text(node, "padding"))
    raise NotImplementedError(node.operation)


def _convolve(x: np.ndarray, kernel: np.ndarray, padding: str) -> np.ndarray:
    """[batch, 1, width, in] with [1, taps, in, out], stride 1."""
    taps = kernel.shape[1]
    if padding == "SAME":
        x = np.pad(x, ((0, 0), (0, 0), ((taps - 1) // 2, taps // 2), (0, 0)))
    width = x.shape[2] - taps + 1
    return sum(x[:, :, tap : tap + width] @ kernel[0, tap] for tap in range(taps))


def _space_to_batch(x: np.ndarray, block: np.ndarray, paddings: np.ndarray) -> np.ndarray:
    """One spatial dimension, the first: entry ``phase * batch + b`` holds every block-th position from ``phase`` on."""
    (size,) = block
    x = np.pad(x, [(0, 0), tuple(paddings[0]), *[(0, 0)] * (x.ndim - 2)])
    return np.concatenate([x[:, phase::size] for phase in range(size)])


def _batch_to_space(x: np.ndarray, block: np.ndarray, crops: np.ndarray) -> np.ndarray:
    (size,) = block
    phases = np.stack(np.split(x, size), axis=2)  # [batch, width, phase, ...]
    joined = phases.reshape(phases.shape[0], -1, *x.shape[2:])
    return joined[:, crops[0][0] : joined.shape[1] - crops[0][1]]


def _strided_slice(node: Node, x: np.ndarray, begin: np.ndarray, end: np.ndarray, strides: np.ndarray) -> np.ndarray:
    assert not _number(node, "ellipsis_mask") and not _number(node, "new_axis_mask")
    masks = [_number(node, f"{mask}_mask") for mask in ("begin", "end", "shrink_axis")]
    index: list[int | slice] = []
    for axis, (start, stop, step) in enumerate(zip(begin.tolist(), end.tolist(), strides.tolist(), strict=True)):
        no_start, no_stop, shrink = (bool(mask >> axis & 1) for mask in masks)
        index.append(start if shrink else slice(None if no_start else start, None if no_stop else stop, step))
    return np.asarray(x[tuple(index)])


def _attribute(node: Node, name: str) -> dict[int, object]:
    return dict(fields(node.attributes.get(name, b"")))


def _number(node: Node, name: str) -> int:
    return int(_attribute(node, name).get(3, 0))


def _flag(node: Node, name: str) -> bool:
    return bool(_attribute(node, name).get(5, 0))


def _text(node: Node, name: str) -> str:
    return _attribute(node, name)[2].decode()


def _list(node: Node, name: str) -> list[int]:
    """Packed varints of an AttrValue.ListValue (field 1, its field 3), as signed numbers of one byte or ten."""
    packed = dict(fields(_attribute(node, name)[1]))[3]
    values = [number for _, number in fields(b"".join(b"\x08" + part for part in _varints(packed)))]
    return [value - 2**64 if value >= 2**63 else value for value in values]


def _varints(packed: bytes) -> list[bytes]:
    parts, start = [], 0
    for position, byte in enumerate(packed):
        if byte < 128:
            parts.append(packed[start : position + 1])
            start = position + 1
    return parts
