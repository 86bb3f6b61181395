"""Molecules as the atoms, bonds and rings of their SMILES, or as SELFIES."""

from __future__ import annotations

import re

from reprogram.transformations.tokens.base import SymbolReader
from reprogram.types import UserError

ATOM = re.compile(
    r"\[[^\]]+\]|Br|Cl|%\d\d|."  # a bracket is one atom, two letters and rings above 9 one token
)


class SmilesTokens(SymbolReader):
    """A token for each atom, bond, branch and ring closure of a SMILES text.

    Nothing is checked: what is no SMILES is read mark by mark.

    Arguments:
        symbols: Tokens, each once.
        length: Tokens of a sample; what is longer is cut, and counted by :meth:`tally`.

    References:
        | "Found in Translation": predicting outcomes of complex organic chemistry reactions using
          neural sequence-to-sequence models (Schwaller, Gaudin, Lanyi, Bekas, Laino, 2018), whose
          tokens these are. https://arxiv.org/abs/1711.04810

    Example:
        >>> SmilesTokens([], 1).cut("C[C@@H](Cl)c1ccBr")
        ['C', '[C@@H]', '(', 'Cl', ')', 'c', '1', 'c', 'c', 'Br']
    """

    def cut(self, text: str) -> list[str]:
        """The tokens."""
        return ATOM.findall("".join(text.split()))


class SelfiesTokens(SymbolReader):
    """A token for each symbol of the SELFIES of a SMILES text.

    Arguments:
        symbols: Tokens, each once.
        length: Tokens of a sample; what is longer is cut, and counted by :meth:`tally`.

    Raises:
        UserError: (where it reads) for a text that has no SELFIES, or if the package is missing.

    References:
        | Self-referencing embedded strings (SELFIES): A 100% robust molecular string representation
          (Krenn, Häse, Nigam, Friederich, Aspuru-Guzik, 2020). https://arxiv.org/abs/1905.13741

    Example:
        >>> SelfiesTokens([], 1).cut("C=O")
        ['[C]', '[=O]']
    """

    def cut(self, text: str) -> list[str]:
        """The tokens."""
        try:
            import selfies
        except ImportError:
            raise UserError("SelfiesTokens needs selfies: pip install 'reprogram[chem]'") from None
        smiles = "".join(text.split())
        try:  # not strict: an unusual valence is no reason to refuse what can be written down
            written = selfies.encoder(smiles, strict=False) if smiles else ""
            return list(selfies.split_selfies(written))
        except (selfies.EncoderError, ValueError, IndexError, KeyError) as error:
            reason = " ".join(str(error).split())[:80]
            raise UserError(f"SMILES {text!r} has no SELFIES ({reason}); mend or remove it, or "
                            "read SMILES tokens") from None  # fmt: skip
