"""Texts -> tokens of the target: characters, words, k-mers, atoms of a molecule."""
