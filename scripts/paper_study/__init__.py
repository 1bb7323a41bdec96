"""The two benchmarks of [P], stage by stage, each beside the paper's number; see `scripts/paper_study.py`."""
