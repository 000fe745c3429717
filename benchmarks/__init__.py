"""Speed and memory against peers: one script a claim, each of which prints one line of json.

python -m benchmarks                      # all of them; writes results.jsonl and the table of README.md
python -m benchmarks.locate_sweep         # one of them
python -m benchmarks.locate_sweep --smoke # the same on tiny shapes, in seconds: the answers are compared, no timing
"""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here comes from the hub, though a peer would look there
