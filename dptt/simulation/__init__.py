"""Specimen -> electrostatic potential -> 4D-STEM tilt series with ground truth.

Reads and writes no data set: `series.simulate_series` yields plain arrays that the command stores.
"""
