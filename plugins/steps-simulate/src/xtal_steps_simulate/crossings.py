"""All crossings of the Ewald sphere during the scan: when, where, how wide, how strong."""

from __future__ import annotations

import numpy as np
from attrs import define, fields
from numpy.typing import NDArray

from xtal.units import DEG
from xtal_steps_simulate.detector import efficiency, path_nodes, polarisation
from xtal_steps_simulate.intensities import Booleans, Integers, Intensities, largest_mate
from xtal_steps_simulate.model import FAST, SLOW, SPINDLE, Array, Model
from xtal_steps_simulate.rays import diffract, rotate, rotate_by_vectors, spread

MIN_ZETA = 0.03
"""Reflections nearer the spindle than this are left out: they stay in the sphere too long to be modelled."""
REACH = 4.5
"""Standard deviations of a rocking curve or footprint that are simulated (7e-6 lies outside)."""
_EDGE = 3.0
_CHUNK = 20_000


@define(eq=False)
class Crossings:
    """One row per crossing.

    Attributes
    ----------
    hkl : (n, 3); unique : (n,) row of `Intensities`; plus, entering : (n,)
    zeta, d : (n,) cosine of spindle and s1 x s0; angstrom
    s1 : (n, 3) 1/angstrom
    xyz : (n, 3) px, px on the sensor's surface, images from the start of the scan
    covariance : (n, 3, 3) of (x, y, z) over the rays, px and images
    shift : (n, 2) px on the detector per mm of path in the sensor
    depth : (n, 3) mm of path in the sensor, ascending, see `detector.path_nodes`
    lorentz, polarisation, efficiency, scale : (n,) factors of photons
    photons : (n,) expected photons of the whole crossing
    """

    hkl: Integers
    unique: Integers
    plus: Booleans
    entering: Booleans
    zeta: Array
    d: Array
    s1: Array
    xyz: Array
    covariance: Array
    shift: Array
    depth: Array
    lorentz: Array
    polarisation: Array
    efficiency: Array
    scale: Array
    photons: Array

    def __len__(self) -> int:
        return len(self.d)


def find_crossings(model: Model, hkl: Integers, intensities: Intensities) -> Crossings:
    """Every crossing whose centre falls on the detector and whose rocking curve meets the scan, sorted by z.

    ``photons`` are scaled so that their mean is ``model.photons``; the intensities are scaled alike, in place.
    """
    parts = [_chunk(model, hkl[i : i + _CHUNK], intensities) for i in range(0, len(hkl), _CHUNK)]
    joined = Crossings(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Crossings)})
    order = np.argsort(joined.xyz[:, 2], kind="stable")
    for f in fields(Crossings):
        setattr(joined, f.name, getattr(joined, f.name)[order])
    factor = model.photons / joined.photons.mean() if len(joined) else 1.0
    joined.photons *= factor
    intensities.plus[:] *= factor
    intensities.minus[:] *= factor
    return joined


def _chunk(model: Model, hkl: Integers, intensities: Intensities) -> Crossings:
    hkl, entering = np.repeat(hkl, 2, axis=0), np.tile([True, False], len(hkl))
    centre = diffract(model, hkl @ (model.u_matrix @ model.b_matrix).T, entering)
    keep = np.isfinite(centre.phi) & _on_detector(model, centre.xy, margin=30)
    hkl, entering, phi = hkl[keep], entering[keep], centre.phi[keep]
    row, z = _passages(model, phi)
    hkl, entering = hkl[row], entering[row]
    z, r = _with_drift(model, hkl, entering, z)
    ray = diffract(model, r, entering)
    zeta = _zeta(model, ray.s1)
    keep = np.isfinite(ray.phi) & (np.abs(zeta) >= MIN_ZETA) & _on_detector(model, ray.xy, _EDGE)
    keep &= _meets_scan(model, z, model.rotation_spread() * 2 / np.maximum(np.abs(zeta), MIN_ZETA))
    hkl, entering, z, r = hkl[keep], entering[keep], z[keep], r[keep]
    moved = spread(model, r, entering)
    in_scan = _meets_scan(model, z, np.sqrt(moved[:, 0, 0]))
    hkl, entering, z, r, moved = hkl[in_scan], entering[in_scan], z[in_scan], r[in_scan], moved[in_scan]
    return _rows(model, hkl, entering, z, r, moved, intensities)


def _rows(
    model: Model, hkl: Integers, entering: Booleans, z: Array, r: Array, moved: Array, intensities: Intensities
) -> Crossings:
    ray = diffract(model, r, entering)
    unit = ray.s1 * model.wavelength
    mate, plus = largest_mate(hkl, model.group)
    unique = intensities.rows(mate)
    per_image = np.array([1.0, 1.0, 1.0 / (model.width * DEG)])
    covariance = moved[:, [1, 2, 0]][:, :, [1, 2, 0]] * per_image[:, None] * per_image
    d = 1 / np.linalg.norm(r, axis=1)
    lorentz = 1 / np.abs(unit @ np.cross(SPINDLE, [0.0, 0.0, -1.0]))
    factors = polarisation(unit), efficiency(model, unit)
    scale = _scale(model, unit, z, d)
    truth = np.where(plus, intensities.plus[unique], intensities.minus[unique])
    return Crossings(
        hkl=hkl, unique=unique, plus=plus, entering=entering, zeta=_zeta(model, ray.s1), d=d, s1=ray.s1,
        xyz=np.column_stack([ray.xy, z]), covariance=covariance,
        shift=np.stack([unit @ FAST, unit @ SLOW], axis=1) / model.pixel, depth=path_nodes(model, unit),
        lorentz=lorentz, polarisation=factors[0], efficiency=factors[1], scale=scale,
        photons=truth * lorentz * factors[0] * factors[1] * scale,
    )  # fmt: skip


def _on_detector(model: Model, xy: Array, margin: float) -> Booleans:
    with np.errstate(invalid="ignore"):
        return np.all((xy > -margin) & (xy < np.array(model.image_size) + margin), axis=1)


def _zeta(model: Model, s1: Array) -> Array:
    normal = np.cross(s1, model.s0)
    return normal @ SPINDLE / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)


def _meets_scan(model: Model, z: Array, sigma_phi: Array) -> Booleans:
    reach = REACH * sigma_phi / (model.width * DEG)
    return (z > -reach) & (z < model.n_images + reach)


def _passages(model: Model, phi: Array) -> tuple[NDArray[np.intp], Array]:
    """(row, z) of all rotations equal to phi up to whole turns that are in or near the scan."""
    turn, margin = 360.0 / model.width, 30.0 / model.width
    z = np.remainder((phi / DEG - model.start) / model.width, turn)
    numbers = np.arange(-1, int(model.n_images / turn) + 2)
    every = z[:, None] + turn * numbers
    row, which = np.nonzero((every > -margin) & (every < model.n_images + margin))
    return row, every[row, which]


def _with_drift(model: Model, hkl: Integers, entering: Booleans, z: Array) -> tuple[Array, Array]:
    """(z, r): crossings of the drifting crystal, and its lattice points at that moment (zero rotation)."""
    edges = np.arange(model.n_images + 1.0)
    table = model.misset_table() * DEG
    still = hkl @ (model.u_matrix @ model.b_matrix).T
    r = still
    for _ in range(5):
        misset = np.stack([np.interp(z, edges, column) for column in table.T], axis=1)
        r = rotate_by_vectors(still, misset)
        fresh = (diffract(model, r, entering).phi / DEG - model.start) / model.width
        turn = 360.0 / model.width
        z = z + np.remainder(fresh - z + turn / 2, turn) - turn / 2
    return z, r


def _scale(model: Model, unit: Array, z: Array, d: Array) -> Array:
    edges = np.arange(model.n_images + 1.0)
    beam = np.interp(z, edges, model.scale_table())
    decay = np.exp(-np.interp(z, edges, model.decay_table()) / (2 * d * d))
    phi = (model.start + z * model.width) * DEG
    absorption = np.ones(len(z))
    linear, quadratic = _absorption_surface(model)
    for direction in (unit, np.broadcast_to([0.0, 0.0, 1.0], unit.shape)):
        in_crystal = rotate(direction, SPINDLE, -phi) @ model.u_matrix
        absorption *= np.exp(in_crystal @ linear + np.einsum("ni,ij,nj->n", in_crystal, quadratic, in_crystal))
    return beam * decay * absorption


def _absorption_surface(model: Model) -> tuple[Array, Array]:
    """Vector and traceless matrix of the logarithm of transmission as a function of direction in the crystal.

    What the point group leaves unchanged is taken out: it multiplies all mates of a reflection alike, so that no
    scaling could see it.
    """
    rng = model.rng("absorption")
    linear, matrix = rng.normal(size=3), rng.normal(size=(3, 3))
    quadratic = (matrix + matrix.T) / 2
    quadratic -= np.eye(3) * np.trace(quadratic) / 3
    orth, frac = np.array(model.cell.orth.mat.tolist()), np.array(model.cell.frac.mat.tolist())
    turns = [orth @ (np.array(op.rot) / op.DEN) @ frac for op in model.group.operations().sym_ops]
    linear = linear - np.mean([turn @ linear for turn in turns], axis=0)
    quadratic = quadratic - np.mean([turn @ quadratic @ turn.T for turn in turns], axis=0)
    return model.absorption * linear, model.absorption * quadratic
