"""What `import steer_utils` and `steer-utils --help` take beyond starting Python, and that neither imports torch."""

from __future__ import annotations

import statistics
import subprocess
import sys
from functools import partial
from typing import Any

from benchmarks.common import Options, Result, Times, interleaved, main, rounded, verdict

CLAIM = "import steer_utils; steer-utils --help"
TARGET = "<= 0.3 s beyond Python (torch imported lazily)"
BEYOND = 0.3
IMPORT = "import steer_utils"
HELP = """
import sys
from steer_utils.cli.main import main
sys.argv = ["steer-utils", "--help"]
try:
    main()
except SystemExit:
    pass
"""
WATCH = "\nimport sys; sys.stderr.write(str('torch' in sys.modules))"
PROGRAMS = {"python": "pass", "import": IMPORT, "help": HELP}


def start(program: str) -> str:
    """Run a program in a new Python; what it writes to stderr. Raises CalledProcessError if it fails."""
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stderr


def measure(options: Options) -> Result:
    times = interleaved({name: partial(start, program) for name, program in PROGRAMS.items()}, options.rounds(10))
    beyond = {
        name: [mine - bare for mine, bare in zip(times[name].seconds, times["python"].seconds, strict=True)]
        for name in ("import", "help")
    }
    medians = {name: statistics.median(seconds) for name, seconds in beyond.items()}
    torch_seen = {name: start(PROGRAMS[name] + WATCH).endswith("True") for name in beyond}
    cases: list[dict[str, Any]] = [
        {
            "contestants": {name: each.as_dict() for name, each in times.items()},
            "beyond_s": {name: rounded(seconds) for name, seconds in medians.items()},
            "beyond_iqr_s": {name: rounded(Times(tuple(seconds)).iqr) for name, seconds in beyond.items()},
            "torch_imported": torch_seen,
        }
    ]
    written = "; ".join(f"{name} {seconds:.2f} s" for name, seconds in medians.items())
    return Result(
        script="import_time",
        claim=CLAIM,
        target=TARGET,
        measured=f"{written}; torch is {'imported' if any(torch_seen.values()) else 'not imported'}",
        met=verdict(options, max(medians.values()) <= BEYOND and not any(torch_seen.values())),
        cases=cases,
    )


if __name__ == "__main__":
    main(measure)
