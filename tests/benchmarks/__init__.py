"""Speed and memory as ratios to peers, measured in one run. `make bench`, or see `run.py`."""
