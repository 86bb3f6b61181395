"""One paper, one function: each composes a source, parts and numbers into a ``Training``.

The list ``RECIPES`` is the registry; other packages add theirs under the entry point group
``reprogram.recipes``.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from reprogram.recipes.automata import nca_global, nca_inject
from reprogram.recipes.autovp import autovp
from reprogram.recipes.base import Recipe, quickly, recipe
from reprogram.recipes.black_box import bar, blackvip, bvp, discrete_vp
from reprogram.recipes.generators import gan_noise, inrep
from reprogram.recipes.images import ar, trainable_io
from reprogram.recipes.language import cross_modal, reprogbert, warp
from reprogram.recipes.prompts import blm, blm_plus, ilm_vp, smm, vp
from reprogram.recipes.series import series_to_features, v2s, v2s_fm
from reprogram.recipes.tables import fraud
from reprogram.recipes.vocabulary import r2dl, vocab_remap
from reprogram.types import nearest

__all__ = [
    "RECIPES", "Recipe", "ar", "autovp", "bar", "blackvip", "blm", "blm_plus", "bvp",
    "cross_modal", "discrete_vp", "find", "fraud", "gan_noise", "ilm_vp", "inrep", "known",
    "nca_global", "nca_inject", "quickly", "r2dl", "recipe", "reprogbert", "series_to_features",
    "smm", "trainable_io", "v2s", "v2s_fm", "vocab_remap", "vp", "warp",
]  # fmt: skip

RECIPES: dict[str, Recipe] = {
    "v2s": v2s,
    "v2s-fm": v2s_fm,
    "series-to-features": series_to_features,
    "ar": ar,
    "trainable-io": trainable_io,
    "vp": vp,
    "ilm-vp": ilm_vp,
    "blm": blm,
    "blm+": blm_plus,
    "smm": smm,
    "autovp": autovp,
    "bar": bar,
    "blackvip": blackvip,
    "bvp": bvp,
    "discrete-vp": discrete_vp,
    "fraud": fraud,
    "warp": warp,
    "cross-modal": cross_modal,
    "reprogbert": reprogbert,
    "vocab-remap": vocab_remap,
    "r2dl": r2dl,
    "gan-noise": gan_noise,
    "inrep": inrep,
    "nca-inject": nca_inject,
    "nca-global": nca_global,
}


def known() -> dict[str, Recipe]:
    """Every recipe by name, ours and those that other packages announce."""
    found = {entry.name: entry.load() for entry in entry_points(group="reprogram.recipes")}
    return found | RECIPES


def find(name: str) -> Recipe:
    """The recipe of that name, ours or another package's.

    Raises:
        UserError: for an unknown one, with the nearest names.

    Example:
        >>> find("v2s") is v2s
        True
    """
    recipes = known()
    if name not in recipes:
        raise nearest("recipe", name, recipes)
    return recipes[name]
