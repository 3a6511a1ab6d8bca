"""xtal: a plugin-based framework for single-crystal diffraction, from images to merged intensities."""

__version__ = "0.1.0"
