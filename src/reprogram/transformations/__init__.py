"""Target input -> source input: the part of a program that stands before the source.

The list ``__all__`` is the registry: a saved program may name these and what other packages
announce under the entry point group ``reprogram.transformations``, and nothing else.
"""

from reprogram.transformations.augment import Crop, Flip
from reprogram.transformations.automata import Inject, StateMatrix
from reprogram.transformations.base import Compose, Transformation
from reprogram.transformations.basis import BasisOverlay
from reprogram.transformations.coordinator import Coordinator
from reprogram.transformations.discrete import DiscreteOverlay
from reprogram.transformations.frame import Frame, ScaledFrame
from reprogram.transformations.image import Channels, Resize
from reprogram.transformations.mask import SampleMask
from reprogram.transformations.noise import ClassNoise, SharedNoise
from reprogram.transformations.overlay import Overlay
from reprogram.transformations.patches import Patches
from reprogram.transformations.prompts import Prompts
from reprogram.transformations.series import ModulateSeries, PadSeries, SeriesToFeatures
from reprogram.transformations.subspace import Subspace
from reprogram.transformations.table import TableOverlay
from reprogram.transformations.tokens.chemistry import SelfiesTokens, SmilesTokens
from reprogram.transformations.tokens.plain import Characters, KMers, Words
from reprogram.transformations.tokens.source import SourceTokens
from reprogram.transformations.vocabulary.base import FreeRows
from reprogram.transformations.vocabulary.combinations import DenseRows, LowRankRows, PrototypeRows
from reprogram.transformations.vocabulary.gumbel import GumbelRows
from reprogram.transformations.vocabulary.places import Places
from reprogram.transformations.vocabulary.sparse import SparseRows

__all__ = [
    "BasisOverlay",
    "Channels",
    "Characters",
    "ClassNoise",
    "Compose",
    "Coordinator",
    "Crop",
    "DenseRows",
    "DiscreteOverlay",
    "Flip",
    "Frame",
    "FreeRows",
    "GumbelRows",
    "Inject",
    "KMers",
    "LowRankRows",
    "ModulateSeries",
    "Overlay",
    "PadSeries",
    "Patches",
    "Places",
    "Prompts",
    "PrototypeRows",
    "Resize",
    "SampleMask",
    "ScaledFrame",
    "SelfiesTokens",
    "SeriesToFeatures",
    "SharedNoise",
    "SmilesTokens",
    "SourceTokens",
    "SparseRows",
    "StateMatrix",
    "Subspace",
    "TableOverlay",
    "Transformation",
    "Words",
]
