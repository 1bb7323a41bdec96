"""A tilt series with all errors of an experiment, made without simulation code of dptt, and what dptt finds in it."""
