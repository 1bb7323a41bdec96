"""Whether refined angles are better than the stage's, on series that an independent program simulated."""
