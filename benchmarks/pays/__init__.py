"""Parts of `benchmarks/search_pays.py`: the peers, our own side, the records, the page."""
