"""Parts of `benchmarks/dense.py`: the peers, our own side, the scoring, the page."""
