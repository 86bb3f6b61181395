"""Tokens of the target -> embeddings or tokens of the source: one table, made in several ways."""
