"""The step show: tables that fit, statistics, images drawn."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xtal.errors import OptionError
from xtal.files import write_experiments, write_reflections
from xtal.models import Beam, Detector, ExperimentList, Panel
from xtal.table import Flag, ReflectionTable, Shoeboxes
from xtal.testing import tiny_experiment
from xtal_steps_import.draw import as_letters, block_max, colours, draw_grid
from xtal_steps_import.fit import fitting_table
from xtal_steps_import.images import five_numbers
from xtal_steps_import.show_tables import flag_rows

SIZE = 64


def smv(path: Path, **keys: object) -> Path:
    """A small SMV image: a level of 10, a spot, and pixels above the trusted range."""
    values = {
        "HEADER_BYTES": 512, "DIM": 2, "BYTE_ORDER": "little_endian", "TYPE": "unsigned_short", "SIZE1": SIZE,
        "SIZE2": SIZE, "PIXEL_SIZE": 0.1, "DISTANCE": 100.0, "WAVELENGTH": 1.0, "OSC_START": 0.0, "OSC_RANGE": 0.5,
        "TIME": 2.0, "BEAM_CENTER_X": 3.0, "BEAM_CENTER_Y": 2.0, **keys,
    }  # fmt: skip
    text = "{\n" + "".join(f"{k}={v};\n" for k, v in values.items()) + "}\n"
    pixels = np.full((SIZE, SIZE), 10, "<u2")
    pixels[5, 60] = 1000
    path.write_bytes(text.encode().ljust(512) + pixels.tobytes())
    return path


def shown(run_step: Any, *words: object) -> str:
    run_step("show", *map(str, words))
    return Path("xtal.show.log").read_text()


def test_an_image_is_described_and_drawn(run_step: Any, tmp_path: Path) -> None:
    text = shown(run_step, smv(tmp_path / "a_0001.img"), "output.png=a.png")
    for word in ("smv", "64 x 64 px", "20.000, 30.000 px", "10, 10, 10, 10, 1000", "@", "X"):
        assert word in text
    pixels = np.asarray(Image.open("a.png"))
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels[5, 60].tolist() == [0, 0, 0]
    assert pixels[30, 20].tolist() == [220, 40, 40]
    assert pixels[40, 40].tolist() == [255, 255, 255]


def on_a_terminal(words: list[str], kind: str, columns: int) -> str:
    """What a command writes where a terminal of so many columns listens."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "COLORTERM")}
    environment["TERM"] = kind
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    told = b""
    while True:
        try:
            told += (part := os.read(ours, 65536))
        except OSError:  # the other end is closed
            part = b""
        if not part:
            break
    os.close(ours)
    assert process.wait() == 0, told
    return told.decode()


@pytest.mark.parametrize(("kind", "drawn"), [("xterm-256color", "\u2580"), ("dumb", "@")])
def test_it_is_drawn_as_the_terminal_can_and_fits_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, drawn: str
) -> None:
    """In colours where there are some, else in letters."""
    folder = tmp_path / ("long_" * 20)
    folder.mkdir()
    image = smv(folder / "a_0001.img")
    xtal = str(Path(sys.executable).parent / "xtal")
    monkeypatch.chdir(tmp_path)
    told = on_a_terminal([xtal, "run", "show", str(image)], kind, 60)
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", told).replace("\r", "").splitlines()
    # 64 pixels, two and two together; in colours two rows of cells are one line
    assert [len(line) for line in lines if drawn in line] == ([32] * 16 if kind != "dumb" else [31])
    assert ("\x1b[38;2;" in told or "\x1b[38;5;" in told) == (kind != "dumb")
    assert max(map(len, lines)) <= 60


def test_what_a_header_lacks_is_said(run_step: Any, tmp_path: Path) -> None:
    image = smv(tmp_path / "a_0001.img")
    content = image.read_bytes()
    for key in (b"DISTANCE=100.0;", b"OSC_RANGE=0.5;"):
        content = content.replace(key, b" " * len(key))
    image.write_bytes(content)
    lines = [" ".join(line.split()) for line in shown(run_step, image).splitlines()]
    for line in ("distance ? mm", "origin -2, 3, ? mm", "not in the header distance: import asks for it"):
        assert line in lines
    assert "oscillation none: a still" in lines
    assert not any("nan" in line or line.startswith("rotation axis") for line in lines)


def test_panels_that_differ_are_told_apart(run_step: Any, tmp_path: Path) -> None:
    e = tiny_experiment()
    (panel,) = e.detector
    other = deepcopy(panel)
    other.gain, other.trusted_range, other.raw_image_offset = 1.5, (0, 99), (0, 120)
    other.origin[1] -= 30.0
    panel.raw_image_offset = (7, 9)
    e.detector = Detector([panel, other])
    write_experiments(ExperimentList([e]), tmp_path / "two.expt")
    lines = [" ".join(line.split()) for line in shown(run_step, tmp_path / "two.expt").splitlines()]
    assert "detector 2 of 120 x 100 px of 0.2 x 0.2 mm, SENSOR_PAD" in lines
    assert "gain, pedestal 1, 0 or 1.5, 0" in lines
    assert "trusted 0 to 60000 or 0 to 99 (inclusive), 0 masked rectangles" in lines
    assert "beam centre 60.000, 50.000 px; 12.000, 10.000 mm (fast, slow) on panel 0" in lines
    assert "67.000, 59.000 px in the image as it is stored" in lines


def test_an_image_of_a_list_is_drawn_by_its_number(run_step: Any, tmp_path: Path) -> None:
    for k in (1, 2, 3):
        smv(tmp_path / f"a_{k:04}.img", OSC_START=0.5 * (k - 1))
    run_step("import", str(tmp_path / "a_####.img"))
    assert "a_0002.img, image 2 of 3" in shown(run_step, "imported.expt", "image=2")
    with pytest.raises(OptionError, match="No experiment has an image 9"):
        shown(run_step, "imported.expt", "image=9")


def test_statistics_are_of_every_image(run_step: Any, tmp_path: Path) -> None:
    for k in (1, 2):
        smv(tmp_path / f"a_{k:04}.img", OSC_START=0.5 * (k - 1))
    run_step("import", str(tmp_path / "a_####.img"), "panel.gain=2", "panel.pedestal=4")
    text = shown(run_step, "imported.expt", "show_raw=True", "show_corrected=True")
    assert text.count("a_0002.img  10.0  10.0  10.0  10.0  1000.0") == 1
    assert text.count("a_0001.img  3.0  3.0  3.0  3.0  498.0") == 1


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 97, 100])
def test_five_numbers_are_hinges(n: int) -> None:
    values = np.random.default_rng(n).integers(0, 50, n)
    ordered = np.sort(values)
    lower, upper = ordered[: (n + 1) // 2], ordered[n // 2 :]
    expected = ordered[0], np.median(lower), np.median(ordered), np.median(upper), ordered[-1]
    assert five_numbers(values) == pytest.approx(expected)


def test_blocks_keep_the_greatest_good_value() -> None:
    random = np.random.default_rng(3)
    values, mask = random.integers(-5, 90, (7, 10)).astype(np.int32), random.random((7, 10)) < 0.6
    mask[:3, :4] = False
    found = block_max(values, mask, 3, 4)
    for row in range(3):
        for column in range(3):
            part = np.s_[3 * row : 3 * row + 3, 4 * column : 4 * column + 4]
            good = values[part][mask[part]]
            assert found[row, column] == (good.max() if good.size else -np.inf)
    assert colours(found, None)[0, 0].tolist() == [70, 100, 160]
    assert as_letters(found, (2, 2)).splitlines()[1].endswith("X")


def test_panels_are_drawn_where_they_stand() -> None:
    beam = Beam(1.0)
    place = lambda x, y: Panel((1, 0, 0), (0, -1, 0), (x, y, -100), (20, 10), (0.1, 0.1), (0, 1000))
    detector = Detector([place(-2.5, 0.55), place(0.5, 0.55)])
    arrays = [np.full((10, 20), v) for v in (1, 5)]
    grid, at = draw_grid(arrays, [a > 0 for a in arrays], detector, beam, 500)
    assert grid.shape == (10, 50)
    assert np.all(grid[:, :20] == 1)
    assert np.all(grid[:, 30:] == 5)
    assert np.isnan(grid[:, 21:29]).all()
    assert at is not None
    assert at[1] == 25


def table() -> ReflectionTable:
    found = ReflectionTable(n_rows=4)
    found["flags"] = np.array([Flag.INTEGRATED, Flag.INTEGRATED_SUM, Flag.STRONG, 0], np.int64)
    found["miller_index"] = np.arange(12, dtype=np.int32).reshape(4, 3)
    found["intensity.sum.value"] = np.array([1.0, 2.0, np.nan, 4.0])
    bbox = np.tile(np.array([0, 2, 0, 2, 0, 1], np.int32), (4, 1))
    boxes = Shoeboxes.allocate(np.zeros(4, np.uint32), bbox)
    boxes.data[:] = np.arange(16)
    boxes.mask[:6] = 5
    found["shoebox"] = boxes
    return found


def test_flags_made_of_several_stand_above_their_parts() -> None:
    rows = {row[0]: row[1] for row in flag_rows(table())}
    assert rows == {"strong": "1", "integrated": "1", "  integrated_sum": "2", "  integrated_prf": "1"}
    names = [row[0] for row in flag_rows(table())]
    assert names.index("integrated") + 1 == names.index("  integrated_sum")


def test_tables_are_summed_up_and_rows_printed(run_step: Any, tmp_path: Path) -> None:
    write_reflections(table(), tmp_path / "a.refl")
    text = shown(run_step, tmp_path / "a.refl", "show_all_reflection_data=True", "max_reflections=2")
    assert "4 reflections" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "shoebox: summed I 6 54 30" in lines
    assert "shoebox: valid foreground 0 4 1.5" in lines
    assert "intensity.sum.value 1 4 2.3333" in lines
    assert any(line.startswith("1 ") and "3, 4, 5" in line for line in lines)
    assert "6, 7, 8" not in text


def test_wide_tables_are_cut_into_parts_that_fit() -> None:
    told: list[tuple[str, list[str]]] = []

    class Told:
        class reporter:  # noqa: N801 (stands for an attribute)
            is_terminal = False

        def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
            told.append((title, columns))

    columns = ["row", *(f"column {k}" for k in range(30))]
    fitting_table(Told(), "T", columns, [[str(k) * 8 for k in range(31)]])
    assert len(told) > 1
    assert [c for _, part in told for c in part[1:]] == columns[1:]
    assert all(part[0] == "row" for _, part in told)
    assert [title for title, _ in told] == ["T"] + [""] * (len(told) - 1)
