"""Scaling studies of `scripts/scaling.py`: runs and their measurements, predictions, figures, report."""
