"""CI-SpliceAI in torch against the frozen graph, executed operation by operation in numpy."""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from frozen import run

from grape_dgl.errors import DataError
from grape_dgl.features import dna
from grape_dgl.features.dna import SHA256, SpliceEncoder, SpliceNetwork, load_networks, one_hot
from grape_dgl.features.frozen_graph import constant, read_nodes
from grape_dgl.features.packaged import packaged_file

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("cispliceai") is None, reason="the package cispliceai (extra [dna]) is not installed"
)


def draw(length: int, seed: int, bases: str = "ACGT") -> str:
    return "".join(np.random.default_rng(seed).choice(list(bases), length))


def unpadded(network: SpliceNetwork, bases: torch.Tensor) -> torch.Tensor:
    """The network as it is drawn in papers: every layer over all positions, zeros beyond the ends ("same" padding)."""

    def same(conv: torch.nn.Conv1d, x: torch.Tensor) -> torch.Tensor:
        padding = conv.dilation[0] * (conv.kernel_size[0] - 1) // 2
        return torch.nn.functional.conv1d(x, conv.weight, conv.bias, padding=padding, dilation=conv.dilation)

    x = network.entry(bases)
    total = network.skips[0](x)
    for number, block in enumerate(network.blocks, start=1):
        h = same(block.conv1, block.norm1(x).relu())
        x = x + same(block.conv2, block.norm2(h).relu())
        if number % 4 == 0:
            total = total + network.skips[number // 4](x)
    return total


def padded(network: SpliceNetwork, sequence: str) -> torch.Tensor:
    """As the package does it: N on either side, cropped afterwards."""
    flank = "N" * dna.REACH
    return unpadded(network, one_hot([flank + sequence + flank]).double())[..., dna.REACH : -dna.REACH]


@needs_weights
@torch.inference_mode()
def test_equals_the_frozen_graph() -> None:
    """Skip sums of all networks without flanks, then one network whole, with flanks and splice-site probabilities."""
    path = packaged_file("cispliceai", "data/CI-SpliceAI.pb", SHA256, "")
    nodes = {node.name: node for node in read_nodes(path)}
    networks = load_networks()
    bases = one_hot([draw(200, 0, "ACGTN")])
    for suffix, network in zip(("", "_1", "_2", "_3", "_4"), networks, strict=True):
        expected = run(nodes, f"model_1/add_20/add{suffix}", {"x": bases.numpy().transpose(0, 2, 1)})[0].T
        assert_near(unpadded(network, bases)[0], expected)
    sequence = draw(31, 1, "ACGTN")
    feeds = {"x": one_hot(["N" * 5000 + sequence + "N" * 5000]).numpy().transpose(0, 2, 1)}
    probabilities = run(nodes, "model_1/conv1d_39/truediv_4", feeds)[0].T
    channels = networks[4](one_hot([sequence]))
    assert_near(channels[0], feeds["model_1/add_20/add_4"][0, 5000:-5000].T)
    np.testing.assert_allclose(networks[4].sites(channels)[0].numpy(), probabilities, rtol=0, atol=1e-5)


def assert_near(states: torch.Tensor, expected: np.ndarray) -> None:
    """Within float32 rounding of the largest state."""
    np.testing.assert_allclose(states.numpy(), expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> SpliceNetwork:
    """The same architecture with shorter kernels and random weights, float64."""
    groups = ((5, 1), (5, 2), (7, 3), (9, 5))
    monkeypatch.setattr(dna, "GROUPS", groups)
    monkeypatch.setattr(dna, "REACH", 8 * (2 + 4 + 9 + 20))
    network = SpliceNetwork().double().eval()
    draws = np.random.default_rng(0)
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(torch.from_numpy(draws.normal(scale=0.15 if value.ndim > 1 else 1, size=value.shape)))
    return network


@torch.inference_mode()
@pytest.mark.parametrize("length", [1, 60, 900])
def test_island_equals_padding_with_n(small: SpliceNetwork, length: int) -> None:
    """Leaving out positions that are sea or do not matter changes nothing."""
    sequence = draw(length, 1, "ACGTN")
    expected = padded(small, sequence)
    assert expected.std() > 0.1
    rounding = 1e-12 * float(expected.abs().max())
    torch.testing.assert_close(small(one_hot([sequence]).double()), expected, rtol=0, atol=rounding)


@torch.inference_mode()
@pytest.mark.parametrize("pooling", ["mean", "mean_std"])
def test_pooling_chunks_and_batches(small: SpliceNetwork, monkeypatch: pytest.MonkeyPatch, pooling: str) -> None:
    """Mean and standard deviation of the padded network's channels, whatever the chunk and the batch."""
    monkeypatch.setattr(dna, "CHUNK", 70)
    sequences = [draw(500, 2), draw(60, 3), draw(60, 4, "ACGTN")]
    expected = [padded(small, sequence)[0].numpy() for sequence in sequences]
    encoder = SpliceEncoder(pooling)
    encoder.__dict__["_networks"] = [small.float()] * 5
    rows = encoder.encode(sequences)
    assert rows.shape == (3, encoder.dim) and rows.dtype == np.float32
    for row, states in zip(rows, expected, strict=True):
        parts = [states.mean(1), states.std(1)] if pooling == "mean_std" else [states.mean(1)]
        np.testing.assert_allclose(row, np.tile(np.concatenate(parts), 5), rtol=1e-3, atol=1e-3)


@needs_weights
def test_bf16() -> None:
    """Measured: within 0.5 % of a vector's norm."""
    plain, half = SpliceEncoder("mean_std"), SpliceEncoder("mean_std", "bf16")
    assert half.source == plain.source | {"precision": "bf16"} and "precision" not in plain.source
    sequences = [draw(30, 0), draw(30, 1, "ACGTN")]
    first, second = plain.encode(sequences), half.encode(sequences)
    apart = np.linalg.norm(first - second, axis=1) / np.linalg.norm(first, axis=1)
    assert apart.min() > 0 and apart.max() < 0.01 and second.dtype == np.float32


def test_one_hot() -> None:
    expected = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert one_hot(["ACGTN", "NTGCA"]).transpose(1, 2).tolist() == [expected, expected[::-1]]


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(value: int) -> bytes:
    value, parts = value % 2**64, []
    while value >= 128:
        parts.append(value % 128 + 128)
        value //= 128
    return bytes([*parts, value])


def const(dtype: int, shape: Sequence[int], *values: bytes) -> bytes:
    sizes = b"".join(field(2, field(1, size)) for size in shape)
    tensor = field(1, dtype) + field(2, sizes) + b"".join(values)
    attribute = field(1, b"value") + field(2, field(8, tensor))
    return field(1, field(1, b"c") + field(2, b"Const") + field(3, b"^after") + field(5, attribute))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (const(1, [2, 1], field(4, struct.pack("<2f", 1.5, -2))), np.array([[1.5], [-2]], np.float32)),
        (const(1, [3], field(5, struct.pack("<f", 0.25))), np.full(3, 0.25, np.float32)),
        (const(3, [2], field(7, varint(300) + varint(-3))), np.array([300, -3], np.int32)),
        (const(3, [], field(7, -7)), np.array(-7, np.int32)),
        (const(3, []), np.array(0, np.int32)),
    ],
)
def test_wire_reader(tmp_path: Path, message: bytes, expected: np.ndarray) -> None:
    path = tmp_path / "graph.pb"
    path.write_bytes(message + field(4, 22))
    (node,) = read_nodes(path)
    assert (node.name, node.operation, node.inputs) == ("c", "Const", ("^after",))
    value = constant(node)
    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("content", [b"", b"\x0a\xff", b"no protobuf at all", field(4, 22)])
def test_not_a_graph(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "graph.pb"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"graph\.pb"):
        read_nodes(path)


def test_package_that_is_missing_or_differs() -> None:
    with pytest.raises(DataError, match="pip install 'grape_dgl"):
        packaged_file("no_such_package_here", "x.pb", "", "'grape_dgl[dna]'")
    with pytest.raises(DataError, match="expected 00; try: pip install --force-reinstall numpy"):
        packaged_file("numpy", "__init__.py", "00", "numpy")
