"""Scaling studies of `scripts/scaling.py`: runs, what they measured, predictions, figures, a page section."""
