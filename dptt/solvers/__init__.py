"""The algorithms of [P]: they know a loss and a communicator, but neither files nor YAML.

`brightfield`, `alignment` and `tomography` are its three steps; `newton` and `outliers` are what they share.
"""
