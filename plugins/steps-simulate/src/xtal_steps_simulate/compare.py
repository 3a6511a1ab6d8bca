"""The step ``compare_truth``: how close merged intensities came to those that were simulated."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed, DataError
from xtal_steps_simulate.intensities import Booleans, Integers, index_key, largest_mate
from xtal_steps_simulate.model import Array

MAX_OBLIQUITY = 3.0
"""Degrees by which axes of one lattice may differ and still be taken for equivalent."""


@frozen(eq=False)
class Observed:
    """Merged intensities, Friedel mates in rows of their own where the file keeps them apart."""

    hkl: Integers
    value: Array
    sigma: Array
    anomalous: bool
    cell: gemmi.UnitCell
    group: gemmi.SpaceGroup


@frozen(eq=False)
class Truth:
    """What was simulated; see the columns ``merged_*`` of ``truth.npz``."""

    hkl: Integers
    plus: Array
    minus: Array
    cell: gemmi.UnitCell
    group: gemmi.SpaceGroup

    def find(self, hkl: Integers) -> tuple[Integers, Booleans]:
        """(row or -1, plus) of reflections."""
        mate, plus = largest_mate(hkl, self.group)
        key, own = index_key(mate), index_key(self.hkl)
        row = np.minimum(np.searchsorted(own, key), len(own) - 1)
        return np.where(own[row] == key, row, -1), plus

    def values(self, row: Integers, plus: Booleans, anomalous: bool) -> Array:
        """True intensities, of the mates or (not ``anomalous``) their means."""
        if anomalous:
            return np.where(plus, self.plus[row], self.minus[row])
        return (self.plus[row] + self.minus[row]) / 2


@frozen
class Shell:
    """Agreement in one shell of resolution.

    Attributes
    ----------
    d_max, d_min : angstrom
    number : intensities compared; completeness : unique reflections of those simulated
    r : sum |I - I_true| / sum I_true; cc : correlation with the truth
    cc_anom : correlation of I(+) - I(-) with the true difference
    i_over_sigma : mean; pull : robust width of (I - I_true) / sigma, which is 1 if the sigmas are right
    """

    d_max: float
    d_min: float
    number: int
    completeness: float
    r: float
    cc: float
    cc_anom: float
    i_over_sigma: float
    pull: float


@frozen(eq=False)
class Comparison:
    """Merged intensities against the truth, after a scale k and a B factor were fitted.

    Attributes
    ----------
    index_map : (3, 3) true indices are observed indices times this
    k, b_factor : I_observed = k I_true exp(-B / (2 d^2)); square angstrom
    """

    index_map: Array
    k: float
    b_factor: float
    shells: list[Shell]
    overall: Shell


def read_merged(path: Path) -> Observed:
    """Intensities of a merged MTZ file.

    Raises
    ------
    DataError
        If it is no MTZ file or has no merged intensities.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist.", advice="Give the merged file with mtz=NAME.")
    try:
        mtz = gemmi.read_mtz_file(str(path))
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an MTZ file: {error}.") from None
    columns = {column.label: np.array(column.array, dtype=float) for column in mtz.columns}
    hkl = np.array(mtz.make_miller_array(), dtype=np.int64)
    anomalous = {"I(+)", "SIGI(+)", "I(-)", "SIGI(-)"} <= columns.keys()
    if anomalous:
        hkl = np.concatenate([hkl, -hkl])
        value = np.concatenate([columns["I(+)"], columns["I(-)"]])
        sigma = np.concatenate([columns["SIGI(+)"], columns["SIGI(-)"]])
    elif {"IMEAN", "SIGIMEAN"} <= columns.keys():
        value, sigma = columns["IMEAN"], columns["SIGIMEAN"]
    else:
        raise DataError(f"{path} has neither I(+) and I(-) nor IMEAN.", advice="Give the file that merge wrote.")
    good = np.isfinite(value) & np.isfinite(sigma) & (sigma > 0)
    return Observed(hkl[good], value[good], sigma[good], anomalous, mtz.cell, mtz.spacegroup)


def read_truth(directory: Path) -> Truth:
    """Merged truth of a folder that ``simulate`` wrote.

    Raises
    ------
    DataError
        If ``truth.json`` or ``truth.npz`` is missing or broken.
    """
    try:
        meta = json.loads((directory / "truth.json").read_text())
        with np.load(directory / "truth.npz") as arrays:
            hkl, plus, minus = (arrays[f"merged_{name}"] for name in ("hkl", "i_plus", "i_minus"))
        group = gemmi.find_spacegroup_by_name(meta["space_group"])
        cell = gemmi.UnitCell(*meta["cell"])
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{directory} holds no truth of a simulation ({error}).", advice="Give the folder with truth=FOLDER."
        ) from None
    order = np.argsort(index_key(hkl))
    return Truth(hkl[order].astype(np.int64), plus[order], minus[order], cell, group)


def index_maps(observed: Observed, truth: Truth) -> list[Array]:
    """All (3, 3) maps N, true hkl = observed hkl N, that carry one lattice on the other."""
    to_seen, seen = _to_reduced(observed.cell, observed.group.centring_type())
    to_true, true = _to_reduced(truth.cell, truth.group.centring_type())
    if not seen.approx(true, 0.05 * true.a):
        return []
    symmetry = gemmi.find_lattice_symmetry_r(true, MAX_OBLIQUITY)
    turns = [np.array(op.rot, dtype=float) / op.DEN for op in symmetry.sym_ops]
    back = np.linalg.inv(to_true)
    return [to_seen @ turn @ back for turn in turns]


def _to_reduced(cell: gemmi.UnitCell, centring: str) -> tuple[Array, gemmi.UnitCell]:
    """(M, reduced cell): hkl M are the indices in the Niggli-reduced primitive cell."""
    vector = gemmi.GruberVector(cell, centring, True)
    vector.niggli_reduce()
    reduced = vector.get_cell()
    change = np.array(vector.change_of_basis.rot, dtype=float) / vector.change_of_basis.DEN
    probe = np.array([[1, 2, 3], [3, -1, 2], [2, 5, -4], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
    wanted = _s_sq(cell, probe)
    choices: list[Any] = [m for c in (change, change.T) for m in (c, np.linalg.inv(c))]
    return min(choices, key=lambda m: float(np.abs(_s_sq(reduced, probe @ m) - wanted).max())), reduced


def _s_sq(cell: gemmi.UnitCell, hkl: Any) -> Array:
    """1/d^2, 1/square angstrom."""
    return np.asarray(np.sum((hkl @ np.array(cell.frac.mat.tolist())) ** 2, axis=1))


def best_map(observed: Observed, truth: Truth) -> tuple[Array, Integers, Booleans]:
    """(index map, row or -1, plus): of all ways to index the lattice the one that agrees best.

    Raises
    ------
    AlgorithmFailed
        If the cells are not those of one lattice.
    """
    best: tuple[float, Array, Integers, Booleans] | None = None
    for index_map in index_maps(observed, truth):
        exact = observed.hkl @ index_map
        row, plus = truth.find(np.rint(exact).astype(np.int64))
        row = np.where(np.abs(exact - np.rint(exact)).max(axis=1) < 1e-6, row, -1)
        found = row >= 0
        if found.sum() < 10:
            continue
        true = truth.values(row[found], plus[found], observed.anomalous)
        score = found.mean() * _correlation(_ranks(true), _ranks(observed.value[found]))
        if best is None or score > best[0] + 1e-9:
            best = score, index_map, row, plus
    if best is None:
        cell = " ".join(f"{v:.2f}" for v in observed.cell.parameters)
        raise AlgorithmFailed(
            f"The merged cell ({cell}) is not that of the simulated crystal.",
            advice="Check that truth= and mtz= belong together, and look at the table of lattices of index.",
        )
    return best[1:]


def compare(observed: Observed, truth: Truth, n_shells: int = 10) -> Comparison:
    """Agreement of merged intensities with the truth in shells of equal numbers."""
    index_map, row, plus = best_map(observed, truth)
    found = row >= 0
    row, plus, value, sigma = row[found], plus[found], observed.value[found], observed.sigma[found]
    true = truth.values(row, plus, observed.anomalous)
    every = _s_sq(truth.cell, truth.hkl)
    s_sq = every[row]
    k, b_factor = _fit_scale(value, sigma, true, s_sq)
    factor = k * np.exp(-b_factor * s_sq / 2)
    value, sigma = value / factor, sigma / factor
    edges = np.quantile(s_sq, np.linspace(0, 1, n_shells + 1))

    def shell(low: float, high: float, last: bool) -> Shell:
        mine = (s_sq >= low) & ((s_sq < high) | (last & (s_sq <= high)))
        possible = int(((every >= low) & ((every < high) | (last & (every <= high)))).sum())
        return _shell(low, high, true[mine], value[mine], sigma[mine], row[mine], plus[mine], possible)

    shells = [shell(edges[i], edges[i + 1], i == n_shells - 1) for i in range(n_shells)]
    return Comparison(index_map, k, b_factor, shells, shell(edges[0], edges[-1], True))


def _shell(
    low: float, high: float, true: Array, value: Array, sigma: Array, row: Integers, plus: Booleans, possible: int
) -> Shell:
    both, first, second = np.intersect1d(row[plus], row[~plus], return_indices=True)
    cc_anom = float("nan")
    if len(both) > 10:
        cc_anom = _correlation(true[plus][first] - true[~plus][second], value[plus][first] - value[~plus][second])
    pull = (value - true) / sigma
    return Shell(
        d_max=float(low**-0.5),
        d_min=float(high**-0.5),
        number=len(true),
        completeness=len(np.unique(row)) / max(possible, 1),
        r=float(np.abs(value - true).sum() / true.sum()) if len(true) else float("nan"),
        cc=_correlation(true, value),
        cc_anom=cc_anom,
        i_over_sigma=float(np.mean(value / sigma)) if len(true) else float("nan"),
        pull=_robust_width(pull),
    )


def _fit_scale(value: Array, sigma: Array, true: Array, s_sq: Array) -> tuple[float, float]:
    """k and B from logarithms of strong intensities, outliers left out in rounds."""
    use = (value > 5 * sigma) & (true > 0)
    if use.sum() < 10:
        return float(value.sum() / true.sum()), 0.0
    x, y, weight = s_sq[use], np.log(value[use] / true[use]), np.minimum(value[use] / sigma[use], 50.0)
    keep = np.ones(len(x), dtype=bool)
    line = np.zeros(2)
    for _ in range(5):
        line = np.polyfit(x[keep], y[keep], 1, w=weight[keep])
        rest = (y - np.polyval(line, x)) * weight
        keep = np.abs(rest) <= 4 * _robust_width(rest[keep]) + 1e-12
    return float(np.exp(line[1])), float(-2 * line[0])


def _robust_width(values: Array) -> float:
    """1.4826 times the median absolute deviation: the standard deviation of a normal distribution."""
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else float("nan")


def _ranks(values: Array) -> NDArray[np.intp]:
    return np.argsort(np.argsort(values))


def _correlation(a: Any, b: Any) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 else float("nan")


def compare_files(mtz: Path, truth: Path, n_shells: int = 10) -> Comparison:
    """Compare a merged MTZ file with the truth in a folder; see `compare`."""
    return compare(read_merged(mtz), read_truth(truth), n_shells)


def run(context: Any) -> None:
    """Compare and print a table by shells."""
    options = context.options
    mtz, truth = Path(os.path.expanduser(options.mtz)), Path(os.path.expanduser(options.truth))
    result = compare_files(mtz, truth, options.shells)
    titles = ["d range", "number", "complete %", "R %", "CC", "CCanom", "I/sigma", "pull width"]
    rows = [_cells(s) for s in [*result.shells, result.overall]]
    context.table("Merged intensities and the truth, in shells of resolution; the last line is overall", titles, rows)
    total = result.overall
    context.summary(
        f"R {100 * total.r:.2f} %, CC {total.cc:.4f}, CCanom {total.cc_anom:.3f}, pull width {total.pull:.2f} "
        f"(1 where the sigmas are right)",
        f"{total.number} intensities to {total.d_min:.2f} Å, {100 * total.completeness:.1f} % of those simulated; "
        f"scale {result.k:.4g} and B {result.b_factor:.2f} Å² fitted",
    )


def _cells(s: Shell) -> list[str]:
    return [
        f"{s.d_max:.2f}-{s.d_min:.2f}", str(s.number), f"{100 * s.completeness:.1f}", f"{100 * s.r:.2f}",
        f"{s.cc:.4f}", f"{s.cc_anom:.3f}", f"{s.i_over_sigma:.1f}", f"{s.pull:.2f}",
    ]  # fmt: skip
