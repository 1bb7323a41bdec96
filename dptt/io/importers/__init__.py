"""Importers: one module per foreign format; each writes the tilt-series layout of ``dptt.io.dataset``."""
