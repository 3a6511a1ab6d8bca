"""Full imgCIF files for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

MAGIC = b"\x0c\x1a\x04\xd5"
HEADER = """###CBF: VERSION 1.5
data_x
_diffrn.id D
_diffrn_source.diffrn_id D
_diffrn_radiation.polarizn_source_ratio {ratio}
_diffrn_radiation.polarizn_source_norm 0.0
_diffrn_radiation_wavelength.wavelength 1.2
loop_
_diffrn_data_frame.array_id
_diffrn_data_frame.binary_id
{frames}
loop_
_diffrn_scan_axis.axis_id
_diffrn_scan_axis.angle_start
_diffrn_scan_axis.angle_increment
_diffrn_scan_axis.displacement_start
{settings}
loop_
_axis.id
_axis.type
_axis.equipment
_axis.depends_on
_axis.vector[1] _axis.vector[2] _axis.vector[3]
_axis.offset[1] _axis.offset[2] _axis.offset[3]
_axis.equipment_component
OMEGA rotation goniometer . 1 0 0 . . . .
KAPPA rotation goniometer OMEGA 0.6 -0.8 0 . . . .
PHI rotation goniometer KAPPA 1 0 0 . . . .
SOURCE general source . 0 0 1 . . . .
TTH rotation detector . 0 1 0 . . . arm
Z translation detector TTH 0 0 -1 . . . arm
{axes}
loop_
_array_structure_list.array_id
_array_structure_list.index
_array_structure_list.dimension
_array_structure_list.precedence
_array_structure_list.direction
_array_structure_list.axis_set_id
{arrays}
loop_
_array_structure_list_axis.axis_set_id
_array_structure_list_axis.axis_id
_array_structure_list_axis.displacement
_array_structure_list_axis.displacement_increment
{steps}
_array_intensities.overload 1000
_array_intensities.undefined_value -5
_array_intensities.gain 2.5
loop_
_array_data.array_id
_array_data.binary_id
_array_data.data
"""
SECTION = """{array} {number}
;
--CIF-BINARY-FORMAT-SECTION--
Content-Type: application/octet-stream;
     conversions="{conversion}"
Content-Transfer-Encoding: BINARY
X-Binary-Size: {size}
X-Binary-ID: {number}
X-Binary-Element-Type: "signed 32-bit integer"
X-Binary-Number-of-Elements: {elements}
X-Binary-Size-Fastest-Dimension: {fast}
X-Binary-Size-Second-Dimension: {slow}
X-Binary-Size-Padding: 16

"""
SCAN = "OMEGA 10 0.5 0\nKAPPA 30 0 0\nPHI 20 0 0\nTTH 20 0 0\nZ 0 0 100"


def predicted(image: np.ndarray, k: int, i: int, j: int) -> int:
    """What pixel (section k, row i, column j) is expected to be."""
    now, before = image[k].astype(int), image[k - 1].astype(int) if k else None
    last = image.shape[2] - 1
    if i == 0:
        return int(now[0, j - 1]) if j else int(before[0, 0]) if before is not None else 0
    near = [(i - 1, j)]
    if j > 0:
        near.append((i, j - 1))
    if 0 < j < last:
        near += [(i - 1, j - 1), (i - 1, j + 1)]
    elif j == 0 and last > 0:
        near.append((i - 1, 1))
    total = [int(now[place]) for place in near]
    if before is not None:
        # the left neighbour's place is taken by the pixel itself
        total += [int(before[(i, j) if place == (i, j - 1) else place]) for place in near]
    return (sum(total) + len(total) // 2) // len(total)


def pack(image: np.ndarray, version: int) -> bytes:
    """Packed compression of (depth, slow, fast), slowly: blocks of one, two, four ... differences in turn."""
    widths = [0, 4, 5, 6, 7, 8, 16, 32] if version == 1 else [0, *range(3, 16), 16, 32]
    steps = []
    for k, i, j in np.ndindex(*image.shape):
        step = (int(image[k, i, j]) - predicted(image, k, i, j)) % 2**32
        steps.append(step - 2**32 if step >= 2**31 else step)
    bits, n, at, block = 0, 0, 0, 0
    while at < len(steps):
        part = steps[at : at + 2**block]
        part += [0] * (2**block - len(part))
        width = next(
            w for w in widths if all((-(2**w) // 2 if w else 0) <= s <= (2**w // 2 - 1 if w else 0) for s in part)
        )
        bits |= (block | widths.index(width) << 3) << n
        n += 5 + version
        for step in part:
            bits |= (step % 2**width) << n
            n += width
        at += 2**block
        block = (block + 1) % 8
    return bytes(32) + bits.to_bytes(n // 8 + 1, "little")


def encode(image: np.ndarray, conversion: str) -> bytes:
    if conversion.startswith("x-CBF_PACKED"):
        return pack(image[None], 2 if conversion.endswith("V2") else 1)
    if conversion == "x-CBF_BYTE_OFFSET":
        steps = np.diff(image.ravel().astype(np.int64), prepend=0)
        assert abs(steps).max() < 2**31
        return b"".join(b"\x80\x00\x80" + int(step).to_bytes(4, "little", signed=True) for step in steps)
    return image.astype("<i4").tobytes()


def write(path: Path, images: list[np.ndarray], conversion: str = "x-CBF_PACKED", **more: str) -> Path:
    """A file of one or several panels, each an array of its own."""
    axes, arrays, steps, frames = [], [], [], []
    for k, image in enumerate(images):
        slow, fast = image.shape
        axes += [
            f"M{k} rotation detector Z 0 0 1 {10 * k} 0 0 module",
            f"S{k} translation detector M{k} 0 -1 0 -1 2 0 panel",
        ]
        axes += [f"F{k} translation detector S{k} 1 0 0 0 0 0 panel"]
        arrays += [f"A{k} 1 {fast} 1 increasing F{k}", f"A{k} 2 {slow} 2 increasing S{k}"]
        steps += [f"F{k} F{k} 0 0.1", f"S{k} S{k} 0 0.1"]
        frames += [f"A{k} {k + 1}"]
    values = {"ratio": "0.8", "settings": SCAN, **more}
    text = HEADER.format(
        axes="\n".join(axes), arrays="\n".join(arrays), steps="\n".join(steps), frames="\n".join(frames), **values
    )
    content = text.encode()
    for k, image in enumerate(images):
        data = encode(image, conversion)
        slow, fast = image.shape
        section = SECTION.format(
            array=f"A{k}",
            number=k + 1,
            conversion=conversion,
            size=len(data),
            elements=image.size,
            fast=fast,
            slow=slow,
        )
        content += section.encode() + MAGIC + data + bytes(16) + b"\n--CIF-BINARY-FORMAT-SECTION----\n;\n"
    path.write_bytes(content)
    return path
