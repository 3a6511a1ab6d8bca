"""The reflection table: named columns over the same rows, flags and shoeboxes."""

from xtal.table.flags import Flag
from xtal.table.shoebox import MaskBit, Shoeboxes
from xtal.table.table import ReflectionTable

__all__ = ["Flag", "MaskBit", "ReflectionTable", "Shoeboxes"]
