"""The two benchmarks of [P], stage by stage, compared with the paper's numbers; see `scripts/paper_study.py`."""
