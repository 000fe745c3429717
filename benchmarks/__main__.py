"""Run the scripts, each in a Python of its own, add their lines to results.jsonl and write the table of README.md.

python -m benchmarks                            # all of them, peers as far as they are installed
python -m benchmarks locate_sweep import_time   # these
python -m benchmarks --table                    # only write the table again
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import Options, add_options, checked, say
from benchmarks.table import HERE, RESULTS, SCRIPTS, append, write


def run(script: str, options: Options, python: str) -> dict[str, Any]:
    """One script's line. Raises ValueError if it failed or printed none; its own output is on stderr by then."""
    flags = [
        *(["--smoke"] if options.smoke else []),
        *(["--full-depth"] if options.full_depth else []),
        "--device",
        options.device,
        "--dtype",
        options.dtype,
        "--repeats",
        str(options.repeats),
    ]
    done = subprocess.run(
        [python, "-m", f"benchmarks.{script}", *flags], stdout=subprocess.PIPE, text=True, cwd=HERE.parent, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise ValueError(f"{script} ended with exit code {done.returncode} and {'a' if lines else 'no'} result")
    return json.loads(lines[-1])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help=f"of {', '.join(SCRIPTS)}; default all")
    parser.add_argument("--python", default=sys.executable, help="the Python to run them with (see benchmarks.venv)")
    parser.add_argument("--table", action="store_true", help="run nothing, write the table from results.jsonl")
    add_options(parser)
    given = vars(parser.parse_args())
    scripts, python, table = given.pop("scripts") or SCRIPTS, given.pop("python"), given.pop("table")
    options = checked(Options(**given), parser)
    if unknown := sorted(set(scripts) - set(SCRIPTS)):
        parser.error(f"there is no {', '.join(unknown)}; pass some of {', '.join(SCRIPTS)}")
    if scripts is SCRIPTS and not options.smoke and not table and not torch.cuda.is_available():
        scripts = tuple(script for script in SCRIPTS if script != "gpu")
        say("gpu is left out: torch sees no GPU here")
    failed = []
    for script in () if table else scripts:
        start = time.perf_counter()
        try:
            record = run(script, options, str(Path(python).absolute()))
        except ValueError as error:  # the others can still run; what was measured is kept
            say(f"{error}")
            failed.append(script)
            continue
        print(json.dumps(record), flush=True)
        say(f"{script}: {record['measured']}  [{time.perf_counter() - start:.0f} s]")
        if not options.smoke:
            append(record, RESULTS)
    if not options.smoke:
        write()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
