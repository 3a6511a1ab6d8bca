"""Options: declaring, matching names, converting values, parameter files, help."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from xtal.errors import OptionError
from xtal.options import (
    Assignment,
    Choice,
    Spec,
    convert,
    differences,
    help_rows,
    n_hidden,
    option,
    parse,
    parse_all,
    parse_text,
    plugin_choice,
    scope,
    scopes,
    split_tokens,
)


@frozen
class DispersionOptions:
    sigma_background: float = option(6.0, help="Background", gt=0)
    kernel_size: tuple[int, ...] = option((3, 3), help="Half size", unit="px", size=2, level=1)


@frozen
class RadialOptions:
    n_bins: int = option(100, help="Bins", ge=1)


@frozen
class FilterOptions:
    d_min: float | None = option(None, help="High-resolution limit", unit="Å", gt=0)
    min_spot_size: int | None = option(None, help="Smallest spot", unit="px", ge=1)
    gain: float | Literal["auto"] | None = option("auto", help="Counts per photon")
    ice_rings: bool = option(False, help="Mask ice rings", level=1)
    method: str = option("basic", help="Method", choices=("basic", "extended"))
    kinds: tuple[str, ...] = option((), help="Filters", choices=("a", "b", "c"))


@frozen
class SpotfinderOptions:
    filter: FilterOptions = scope(FilterOptions)
    threshold: Choice = plugin_choice("threshold", default="dispersion_extended")


@frozen
class Options:
    spotfinder: SpotfinderOptions = scope(SpotfinderOptions)
    exclude: tuple[str, ...] = option((), help="Images left out", multiple=True)
    rectangle: tuple[tuple[int, ...], ...] = option((), help="Masked", multiple=True, size=4)
    unit_cell: tuple[float, ...] | None = option(None, help="Cell", size=6)
    fix: str = option("none", help="What stays", choices=("none", "all"))


@frozen
class TwoOptions:
    @frozen
    class Beam:
        fix: str = option("all", help="f", choices=("all", "wavelength"))

    @frozen
    class Detector:
        fix: str = option("none", help="f", choices=("all", "none"))
        expert: int = option(1, help="e", level=1)

    beam: Beam = scope(Beam)
    detector: Detector = scope(Detector)
    expert: int = option(2, help="e", level=0)


class Fake:
    """Two thresholds that share options and one that does not."""

    classes: ClassVar = {
        "dispersion": DispersionOptions,
        "dispersion_extended": DispersionOptions,
        "radial": RadialOptions,
    }

    def names(self, kind: str) -> list[str]:
        return list(self.classes)

    def options_class(self, kind: str, name: str) -> type | None:
        return self.classes[name]


def run(*tokens: str) -> dict[str, str]:
    return differences(parse(Options, tokens, Fake()))


@pytest.mark.parametrize(
    "token",
    [
        "spotfinder.filter.d_min=2",
        "filter.d_min=2",
        "d_min=2",
        "_min=2",
        "filter.d_m=2",
        "d_min=2.0",
        "d_min= 2 ",
        "d_min=4/2",
        "--d_min=2",
    ],
)
def test_names_match_by_any_part(token: str) -> None:
    assert run(token) == {"spotfinder.filter.d_min": "2"}


def test_bare_flag_is_true() -> None:
    assert run("--ice_rings") == {"spotfinder.filter.ice_rings": "True"}


def test_near_miss_names_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"'d_mn' is unknown\. Did you mean spotfinder\.filter\.d_min\?"):
        run("d_mn=2")


def test_ambiguity_lists_the_candidates() -> None:
    with pytest.raises(OptionError, match=r"ambiguous: beam\.fix, detector\.fix") as caught:
        parse(TwoOptions, ["fix=all"])
    assert "Give more of the name" in caught.value.advice
    assert differences(parse(TwoOptions, ["detector.fix=all"])) == {"detector.fix": "all"}


def test_a_tie_within_the_scope_of_the_option_is_not_worth_a_word() -> None:
    @frozen
    class Rings:
        d_min: float = option(1.0, help="d", level=1)
        r_min: float = option(1.0, help="r", level=1)

    @frozen
    class Filter:
        d_min: float = option(2.0, help="d")
        ice_rings: Rings = scope(Rings)

    @frozen
    class Both:
        filter: Filter = scope(Filter)
        ice: Rings = scope(Rings)

    @frozen
    class One:
        filter: Filter = scope(Filter)

    def warnings(cls: type, key: str) -> tuple[str, ...]:
        return parse_all([cls], [Assignment(key, "3")]).warnings

    assert warnings(One, "d_min") == warnings(One, "filter.d_min") == ()
    assert warnings(One, "_min") == ("Assuming filter.d_min was meant by _min.",)
    assert warnings(Both, "d_min") == ("Assuming filter.d_min was meant by d_min.",)


def test_ties_go_to_the_lower_level() -> None:
    assert differences(parse(TwoOptions, ["xpert=5"])) == {"expert": "5"}


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("d_min=-1", "more than 0"),
        ("d_min=fine", "is not a number"),
        ("spot_size=2.5", "whole number"),
        ("spot_size=0", "at least 1"),
        ("ice_rings=maybe", "True or False"),
        ("ice_rings=None", "needs a value"),
        ("method=basi", "Did you mean basic"),
        ("unit_cell=1,2,3", "needs 6 values, not 3"),
        ("rectangle=1,2", "needs 4 values"),
        ("threshold.algorithm=disperson", "Did you mean dispersion"),
        ("n_bins=3", "belongs to radial"),
        ("d_min=__import__('os')", "is not a number"),
    ],
)
def test_bad_values_are_told(token: str, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        run(token)


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        (["gain=None"], {"spotfinder.filter.gain": "None"}),
        (["gain=AUTO"], {}),
        (["method=*Extended"], {"spotfinder.filter.method": "extended"}),
        (["method=basic *extended"], {"spotfinder.filter.method": "extended"}),
        (["kinds=a+c"], {"spotfinder.filter.kinds": "a,c"}),
        (["kinds=a,c"], {"spotfinder.filter.kinds": "a,c"}),
        (["kinds=a", "kinds=None"], {}),
        (["fix=all", "fix=None"], {}),
        (["kinds=*a b *c"], {"spotfinder.filter.kinds": "a,c"}),
        (["exclude=1:2", "exclude=5"], {"exclude": "1:2,5"}),
        (["exclude=1:2", "exclude=None"], {}),
        (["unit_cell=10 20,30  90 90 90"], {"unit_cell": "10,20,30,90,90,90"}),
        (["unit_cell=(10,20,30,90,90,90)"], {"unit_cell": "10,20,30,90,90,90"}),
        (["min_spot_size=3", "spot_size=4"], {"spotfinder.filter.min_spot_size": "4"}),
        (["ice_rings=YES"], {"spotfinder.filter.ice_rings": "True"}),
        (["threshold=radial"], {"spotfinder.threshold.algorithm": "radial"}),
    ],
)
def test_values(tokens: list[str], found: dict[str, str]) -> None:
    assert run(*tokens) == found


def test_repeated_lists_are_kept_apart() -> None:
    options = parse(Options, ["rectangle=1,2,3,4", "rectangle=5 6 7 8"], Fake())
    assert options.rectangle == ((1, 2, 3, 4), (5, 6, 7, 8))


def test_options_of_the_chosen_plugin() -> None:
    options = parse(Options, ["sigma_background=3", "algorithm=dispersion"], Fake())
    threshold = options.spotfinder.threshold
    assert threshold == Choice("threshold", "dispersion", DispersionOptions(3.0))
    # another plugin's name before an option that the chosen one has too
    options = parse(Options, ["spotfinder.threshold.dispersion.sigma_background=4"], Fake())
    assert options.spotfinder.threshold.options.sigma_background == 4.0
    # no plugin's name at all
    options = parse(Options, ["threshold.sigma_background=5"], Fake())
    assert options.spotfinder.threshold.options.sigma_background == 5.0


def test_objects_check_their_ranges_too() -> None:
    with pytest.raises(OptionError, match="d_min=-1"):
        FilterOptions(d_min=-1.0)


PARAMETERS = """
spotfinder {   # finding
  filter { d_min = 2.5; min_spot_size=4 }
  !filter.ice_rings = True
  threshold
  {
    algorithm = dispersion
  }
}
exclude = "1:2"   # images
exclude = 7
unit_cell = 10 20 30 \\
  90 90 90
"""


@pytest.mark.parametrize("how", ["{}", "options={}"])
def test_parameter_file(tmp_path: Path, how: str) -> None:
    path = tmp_path / "given.phil"
    path.write_text(PARAMETERS)
    assert run("d_min=9", how.format(path), "spot_size=5") == {
        "spotfinder.filter.d_min": "2.5",
        "spotfinder.filter.min_spot_size": "5",
        "spotfinder.threshold.algorithm": "dispersion",
        "exclude": "1:2,7",
        "unit_cell": "10,20,30,90,90,90",
    }


def test_parameter_file_includes(tmp_path: Path) -> None:
    (tmp_path / "a.phil").write_text('include file "b.phil"\nd_min=3')
    (tmp_path / "b.phil").write_text("spot_size = 7")
    assert run(str(tmp_path / "a.phil")) == {
        "spotfinder.filter.min_spot_size": "7",
        "spotfinder.filter.d_min": "3",
    }
    (tmp_path / "b.phil").write_text("include file a.phil")
    with pytest.raises(OptionError, match="includes itself"):
        run(str(tmp_path / "a.phil"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a { b = 1", "line 1: the scope 'a' is not closed"),
        ("\n}", "line 2: a } without its {"),
        ("a b", "neither = nor {"),
        ("= 3", "unexpected ="),
        ("a = {", "unexpected {"),
        ("include thing", "include file NAME"),
    ],
)
def test_faults_of_parameter_files(text: str, why: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_text(text, "x.phil")
    assert why in str(caught.value)


def test_bad_name_in_a_file_says_where(tmp_path: Path) -> None:
    path = tmp_path / "bad.phil"
    path.write_text("\nspotfinder.filter.d_mn = 3\n")
    with pytest.raises(OptionError, match=r"bad\.phil, line 2: .*d_mn"):
        run(str(path))


def test_missing_parameter_file() -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        run("options=nowhere.phil")


def test_tokens_are_sorted() -> None:
    settings, files = split_tokens(["a.cbf", "d_min=2", "http://x/?a=b", "img_####.cbf", "x.y=1=2"])
    assert files == ["a.cbf", "http://x/?a=b", "img_####.cbf"]
    assert [(a.key, a.value) for a in settings] == [("d_min", "2"), ("x.y", "1=2")]
    (quoted,), _ = split_tokens(["d_min = 2"])
    assert (quoted.key, quoted.value) == ("d_min", "2")
    with pytest.raises(OptionError, match="-z is unknown"):
        split_tokens(["-z"])


def test_help_rows() -> None:
    rows = {r.path: r for r in help_rows([Options], Fake())}
    assert rows["spotfinder.filter.d_min"].help == "High-resolution limit [Å, > 0]"
    assert rows["spotfinder.filter.gain"].default == "Auto"
    assert "spotfinder.threshold.dispersion_extended.kernel_size" not in rows
    assert n_hidden([Options], Fake()) == 2
    assert n_hidden([Options], Fake(), 1) == 0


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(OptionError):
        parse_text(text)


@given(st.text(max_size=30), st.sampled_from([bool, int, float, tuple[int, ...], float | None, str]))
def test_no_text_breaks_a_conversion(text: str, kind: Any) -> None:
    with contextlib.suppress(OptionError):
        convert(text, kind, Spec(), "x")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive(value: float) -> None:
    assert convert(repr(value), float, Spec(), "x") == value


def test_options_stay_light() -> None:
    code = (
        "import sys, xtal.options, xtal.plugins, xtal.cli.run, xtal.run;"
        "print([m for m in ('numpy', 'scipy', 'numba', 'gemmi', 'rich', 'h5py') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


@frozen
class PanelOptions:
    id: int | None = option(None, help="Which")
    gain: float = option(1.0, help="Gain")
    circle: tuple[tuple[int, ...], ...] = option((), help="Circles", multiple=True, size=3)


@frozen
class PanelsOptions:
    panel: tuple[PanelOptions, ...] = scopes(PanelOptions, help="Repeated")
    gain_of_all: float = option(1.0, help="Another")


def test_scopes_that_may_be_repeated(tmp_path: Path) -> None:
    assert parse(PanelsOptions, []).panel == ()
    words = ["panel.id=0", "panel.gain=2", "panel.circle=1,2,3", "panel.circle=4,5,6", "panel.id=1", "gain_of_all=3"]
    options = parse(PanelsOptions, words)
    assert options.panel == (PanelOptions(0, 2.0, ((1, 2, 3), (4, 5, 6))), PanelOptions(1))
    file = tmp_path / "a.phil"
    file.write_text("panel { gain = 5\n id = 1 }\npanel { circle = 1 2 3\n id = 2 }\npanel.gain = 7\n")
    options = parse(PanelsOptions, [str(file)])
    assert options.panel == (PanelOptions(1, 5.0), PanelOptions(2, 7.0, ((1, 2, 3),)))
    assert differences(options) == {
        "panel[0].id": "1", "panel[0].gain": "5",
        "panel[1].id": "2", "panel[1].gain": "7", "panel[1].circle": "1,2,3",
    }  # fmt: skip
