"""Damaged coordinate files, pictures, databases and cache files: no raw exception, no hang, no memory blow-up.

    python benchmarks/fuzz.py [--count 20000] [--seed 0] [--data ../shared/data] [--keep DIR]
    python benchmarks/fuzz.py pictures projects cache [--count 1900] [--seed 0]

Without words: twenty thousand coordinate files. With words, what ``fuzz_damage.py`` does. Columns: tried, clean (read,
or one of the program's own errors), raw (any other exception, or a process that died) and hung.

The same driver as ``tests/unit/formats/test_fuzz.py``. Each batch of files is read in a process of its own whose memory
is bounded by the kernel and which an alarm ends where one file takes too long, also inside a C library. A file that
does harm is kept with the seed that made it. Prints a Markdown table; exit code 1 where anything was found.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "unit" / "formats"))

BATCH = 500


@dataclass
class Outcome:
    """What came of the files of one format."""

    files: int = 0
    read: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    largest_mb: float = 0.0
    harmful: list[str] = field(default_factory=list)

    @property
    def n_hung(self) -> int:
        """Ended by the alarm."""
        return sum(f"died with {-signal.SIGALRM} " in text for text in self.harmful)


# --- a batch, in its own process -----------------------------------------------------------------------------------


def work(options: argparse.Namespace) -> None:
    """Read files ``first .. first + n`` and print one JSON line for each."""
    from fuzz_driver import mutated, put, seeds, try_file

    from cryoppp_annotator.extensions import formats

    known = list(formats().values())
    by_format: dict[str, list] = {}
    for seed in seeds(options.data):
        by_format.setdefault(seed.format, []).append(seed)
    names = sorted(by_format)
    warnings.simplefilter("error")  # an overflow is no sense either
    resource.setrlimit(resource.RLIMIT_AS, (options.memory << 20, options.memory << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in range(options.first, options.first + options.n):
        rng = random.Random(f"{options.seed} {number}")
        name = names[number % len(names)]
        seed = rng.choice(by_format[name])
        path = put(options.folder, seed, mutated(seed.data, rng))
        print(json.dumps({"number": number, "format": name, "path": str(path)}), flush=True)
        signal.setitimer(signal.ITIMER_REAL, options.seconds)  # SIGALRM unhandled: ends the process whatever it does
        started = time.perf_counter()
        error = ""
        n_read = 0
        try:
            n_read = try_file(path, formats()[name], known)
        except BaseException as what:
            error = "".join(traceback.format_exception_only(what)).strip() + " " + _place(what)
        signal.setitimer(signal.ITIMER_REAL, 0)
        outcome = {"seconds": time.perf_counter() - started, "read": n_read, "error": error, "mb": _peak_mb()}
        print(json.dumps(outcome), flush=True)


def _place(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "cryoppp_annotator" in f.filename]
    return f"({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# --- all of them ---------------------------------------------------------------------------------------------------


def main() -> int:
    if len(sys.argv) > 1 and sys.argv[1] in ("pictures", "projects", "cache"):
        import fuzz_damage

        return fuzz_damage.main()
    options = _options()
    if options.first is not None:
        work(options)
        return 0
    outcomes: dict[str, Outcome] = {}
    number = 0
    while number < options.count:
        number = _batch(options, number, min(BATCH, options.count - number), outcomes)
        if sys.stderr.isatty():
            print(f"\r{number:,}/{options.count:,}", end="", file=sys.stderr)
    print(_table(outcomes, options))
    return 1 if any(outcome.harmful for outcome in outcomes.values()) else 0


def _batch(options: argparse.Namespace, first: int, n: int, outcomes: dict[str, Outcome]) -> int:
    """Run a batch; returns the number of the next file. A process that died has harmed itself on its last file."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "--first", first, "--n", n, "--seed", options.seed, "--folder", folder]
        words += ["--memory", options.memory, "--seconds", options.seconds]
        words += ["--data", options.data] if options.data else []
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        if not lines:
            raise SystemExit(f"the batch at {first} did not start: {done.stderr[-2000:]}")
        for started, ended in zip(lines[::2], [*lines[1::2], None], strict=False):
            outcome = outcomes.setdefault(started["format"], Outcome())
            outcome.files += 1
            error = f"died with {done.returncode} {done.stderr[-200:]}" if ended is None else ended["error"]
            if ended is not None:
                outcome.read += ended["read"] > 0
                outcome.seconds += ended["seconds"]
                outcome.slowest_s = max(outcome.slowest_s, ended["seconds"])
                outcome.largest_mb = max(outcome.largest_mb, ended["mb"])
            if error:
                outcome.harmful.append(f"{started['number']}: {error}")
                if ended is None:
                    _keep(options, started)
        return int(lines[-1 if len(lines) % 2 else -2]["number"]) + 1


def _keep(options: argparse.Namespace, started: dict) -> None:
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        source = Path(started["path"])
        (options.keep / f"{started['number']}_{source.name}").write_bytes(source.read_bytes())


def _table(outcomes: dict[str, Outcome], options: argparse.Namespace) -> str:
    lines = [
        "| format | tried | clean | raw | hung | read in part or whole | slowest, s | process peak, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {o.files:,} | {o.files - len(o.harmful):,} | {len(o.harmful) - o.n_hung} | {o.n_hung} "
        f"| {o.read:,} | {o.slowest_s:.2f} | {o.largest_mb:.0f} |"
        for name, o in sorted(outcomes.items())
    ]
    every = list(outcomes.values())
    total, n_harmful = sum(o.files for o in every), sum(len(o.harmful) for o in every)
    n_hung = sum(o.n_hung for o in every)
    lines.append(
        f"| **all** | {total:,} | {total - n_harmful:,} | {n_harmful - n_hung} | {n_hung} "
        f"| {sum(o.read for o in every):,} | {max(o.slowest_s for o in every):.2f} "
        f"| {max(o.largest_mb for o in every):.0f} |"
    )
    kinds = Counter(text.split(": ", 1)[1] for o in every for text in o.harmful)
    lines += ["", *(f"* {n} x {what}" for what, n in kinds.most_common(20))]
    lines += [f"  * file {text[:300]}" for o in every for text in o.harmful[:2]]
    lines.append(
        f"Seed {options.seed}, {options.memory} MB and {options.seconds:g} s allowed; "
        f"{sum(o.seconds for o in every):.0f} s of reading."
    )
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = REPOSITORY.parent / "shared" / "data"
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=data if data.is_dir() else None, help="real files to damage too")
    parser.add_argument("--memory", type=int, default=2048, help="address space of the reading process, MB")
    parser.add_argument("--seconds", type=float, default=10.0, help="that one file may take with all its readers")
    parser.add_argument("--keep", type=Path, help="folder for files that ended the process")
    for name in ("--first", "--n"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
