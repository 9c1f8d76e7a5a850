"""Plain and gzip files read the same; every byte moves the bar; what is wrong is one line with the file's name."""

from __future__ import annotations

import gzip
import io
import logging
from pathlib import Path

import pytest
from tqdm import tqdm

from grape_dgl.data import text_files
from grape_dgl.data.progress import bar
from grape_dgl.data.text_files import reading
from grape_dgl.errors import DataError

LINES = b"".join(b"line %d\n" % number for number in range(300_000))


@pytest.mark.parametrize(
    "content", [LINES, gzip.compress(LINES), gzip.compress(LINES[:99]) + gzip.compress(LINES[99:])]
)
@pytest.mark.parametrize("by_line", [True, False])
def test_plain_and_gzip_with_a_bar_of_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, by_line: bool
) -> None:
    shown = list[tqdm]()

    def visible(what: str, total: int, **more: object) -> tqdm:
        shown.append(tqdm(desc=what, total=total, file=io.StringIO()))
        return shown[-1]

    monkeypatch.setattr(text_files, "bar", visible)
    (tmp_path / "x").write_bytes(content)
    with reading(tmp_path / "x", "the table") as file:
        assert (b"".join(file) if by_line else file.read()) == LINES
    assert shown[0].total == len(content) and (shown[0].n == len(content) or not by_line)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the table '.*x': No such file"),
        (gzip.compress(LINES)[:999], "the table '.*x' is a damaged gzip file: .*fetch it again"),
        (b"\x1f\x8b" + bytes(99), "the table '.*x' is a damaged gzip file"),
        (gzip.compress(LINES)[:-8] + bytes(8), "the table '.*x' is a damaged gzip file: CRC"),
        (b"caf\xe9", r"cannot read the table '.*x': .*0xe9.*UTF-8"),
    ],
)
def test_errors(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=message) as raised, reading(tmp_path / "x", "the table") as file:
        file.read().decode()
    assert "\n" not in str(raised.value)


def test_a_bar_is_shown_on_a_terminal_only_and_not_under_quiet(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for level, terminal, total, shown in (
        (logging.INFO, True, 3, True), (logging.INFO, False, 3, False), (logging.WARNING, True, 3, False),
        (logging.INFO, True, 0, False),
    ):  # fmt: skip
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda terminal=terminal: terminal)
        caplog.set_level(level, "grape_dgl")
        with bar("reading", total, file=stream) as made:
            made.update(total)
        assert ("reading" in stream.getvalue()) is shown
