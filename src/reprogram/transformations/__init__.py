"""Target input -> source input: the part of a program that stands before the source.

The list ``__all__`` is the registry: a saved program may name these and what other packages
announce under the entry point group ``reprogram.transformations``, and nothing else.
"""

from reprogram.transformations.base import Compose, Transformation
from reprogram.transformations.image import Frame, Overlay, Resize
from reprogram.transformations.series import ModulateSeries, PadSeries, SeriesToFeatures

__all__ = [
    "Compose",
    "Frame",
    "ModulateSeries",
    "Overlay",
    "PadSeries",
    "Resize",
    "SeriesToFeatures",
    "Transformation",
]
