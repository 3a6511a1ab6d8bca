"""``xtal warmup``: compile all kernels of the chain ahead."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from xtal.cli.demo import simulated_images
from xtal.cli.process import process
from xtal.errors import XtalError
from xtal.options import Assignment
from xtal.plugins import default_plugins

TINY = {"simulate.preset": "small"}
"""The smallest preset: what counts is that each kernel is called once."""


def main(words: list[str]) -> int:
    """Run the chain on a tiny simulated scan in a temporary folder."""
    if words:
        print("xtal warmup   compiles all kernels of the chain by running it on a tiny simulated scan")
        return 0
    from xtal.kernel_cache import cache_directory, prepare_cache

    prepare_cache()
    start = time.monotonic()
    plugins = default_plugins()
    with tempfile.TemporaryDirectory(prefix="xtal-warmup-") as name:
        folder = Path(name)
        settings = [Assignment(k, v) for k, v in TINY.items()]
        images = simulated_images(plugins, folder / "images", settings)
        try:
            process(plugins, [Assignment("output.directory", name)], [images], verbosity=0)
        except XtalError as error:
            print(f"The tiny scan could not be processed to its end ({error.message}); what ran is compiled.")
    print(f"Kernels are compiled in {cache_directory()} ({time.monotonic() - start:.0f} s).")
    return 0
