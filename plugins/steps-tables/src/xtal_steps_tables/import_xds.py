"""The step import_xds."""

from __future__ import annotations

from pathlib import Path

from xtal.errors import DataError, UsageError
from xtal.models import Experiment, ExperimentList
from xtal.run import Context
from xtal.table import ReflectionTable
from xtal.words import counted
from xtal_steps_tables.outputs import write_pair
from xtal_steps_tables.xds_files import Geometry, geometry_of_header, geometry_of_xparm, header_of, read_text
from xtal_steps_tables.xds_models import experiment_of, vary_crystal
from xtal_steps_tables.xds_options import ImportXdsOptions
from xtal_steps_tables.xds_tables import add_standard_columns, table_of_integrate_hkl, table_of_spot_xds

MODELS = ("INTEGRATE.HKL", "XPARM.XDS", "GXPARM.XDS", "XDS_ASCII.HKL")
REFLECTIONS = ("INTEGRATE.HKL", "SPOT.XDS")


def run(context: Context) -> None:
    """Write the models, and the reflections where there are some."""
    options: ImportXdsOptions = context.options
    folder, file = _given(context.images)
    models = _file_of_models(folder, options.input.xds_file)
    geometry = geometry_of(models)
    experiment = experiment_of(geometry, _xds_inp(folder))
    context.print(f"Models from {models} and XDS.INP")
    if options.read_varying_crystal:
        _vary(context, experiment, geometry, folder)
    file = file or next((folder / name for name in REFLECTIONS if (folder / name).is_file()), None)
    table = None if file is None else _table(file, experiment, geometry, options)
    name = context.output_name("reflections")
    if file is not None and not file.name.startswith("INTEGRATE") and name == "integrate_hkl.refl":
        name = "spot_xds.refl"
    write_pair(context, ExperimentList([experiment]), table, (context.output_name("experiments"), name))
    n = "no reflections" if table is None else counted(len(table), "reflection")
    context.summary(
        f"images {experiment.scan.image_range[0]}-{experiment.scan.image_range[1]}, {n}" if experiment.scan else n
    )


def _given(paths: list[Path]) -> tuple[Path, Path | None]:
    """The folder of XDS, and the file of the reflections if one was given."""
    folders, files = [p for p in paths if p.is_dir()], [p for p in paths if not p.is_dir()]
    if len(folders) > 1 or len(files) > 1:
        raise UsageError("import_xds takes one folder of XDS, and at most one of INTEGRATE.HKL and SPOT.XDS.")
    file = files[0] if files else None
    if file is not None and not file.name.upper().startswith(("INTEGRATE", "SPOT")):
        raise UsageError(
            f"{file} is neither INTEGRATE.HKL nor SPOT.XDS.", advice="A file of models is given as xds_file=NAME."
        )
    return (folders[0] if folders else (file or Path()).parent), file


def _xds_inp(folder: Path) -> Path:
    if (folder / "XDS.INP").is_file():
        return folder / "XDS.INP"
    alike = sorted(p.name for p in folder.iterdir() if p.name.lower() == "xds.inp")
    raise DataError(
        f"The folder {folder} holds no XDS.INP.",
        advice=f"Rename {alike[0]} to XDS.INP." if alike else "Give the folder in which XDS ran.",
    )


def _file_of_models(folder: Path, name: str | None) -> Path:
    for candidate in MODELS if name is None else (name,):
        if (folder / candidate).is_file():
            return folder / candidate
    wanted = name or " or ".join(MODELS)
    raise DataError(f"The folder {folder} holds no {wanted}.", advice="Give the folder in which XDS ran.")


def geometry_of(path: Path) -> Geometry:
    """Geometry of XPARM.XDS, GXPARM.XDS, INTEGRATE.HKL, XDS_ASCII.HKL or XDS.INP, told by their content.

    Raises
    ------
    DataError
        If the file is none of these or is damaged.
    """
    start = read_text(path)[:200]
    if start.startswith(("!OUTPUT_FILE=INTEGRATE.HKL", "!FORMAT=XDS_ASCII")):
        return geometry_of_header(header_of(path), path)
    return geometry_of_xparm(path)


def _vary(context: Context, experiment: Experiment, geometry: Geometry, folder: Path) -> None:
    if not (folder / "INTEGRATE.LP").is_file():
        context.warn(f"The folder {folder} holds no INTEGRATE.LP: the crystal does not vary.")
        return
    vary_crystal(experiment, geometry, folder / "INTEGRATE.LP")


def _table(file: Path, experiment: Experiment, geometry: Geometry, options: ImportXdsOptions) -> ReflectionTable:
    if file.name.upper().startswith("INTEGRATE"):
        own = geometry_of_header(header_of(file), file)
        table = table_of_integrate_hkl(file, experiment, own)
    else:
        table = table_of_spot_xds(file, experiment, geometry, remove_invalid=options.remove_invalid)
    if options.add_standard_columns:
        add_standard_columns(table)
    return table
