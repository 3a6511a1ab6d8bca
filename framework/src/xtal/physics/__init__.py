"""Library of the field: geometry, prediction, refinement, profiles, symmetry, merging; no I/O, no printing."""
