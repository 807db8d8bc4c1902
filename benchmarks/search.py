"""The search for the default recipes of the classics on digits: `python benchmarks/search.py MODEL ... --steps N`.

Each trial is a run of its own, by steps and not by time, so that a busy machine changes nothing, and a line in
`search.csv` beside this file, which keeps what was found. A trial that has a line there is not run again.
"""

import csv
import itertools
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import click

RESULTS = Path(__file__).with_name("search.csv")
FIELDS = ("model", "options", "steps", "seed", "fid", "recall", "ganzoo", "torch")

ADAM = {"b1": ("0", "0.5"), "b2": ("0.99", "0.999")}
GRIDS: dict[str, dict[str, tuple[str, ...]]] = {
    "dcgan": {"lr": ("5e-4", "2e-3", "4e-3"), **ADAM},
    "lsgan": {"lr": ("5e-4", "2e-3", "4e-3"), **ADAM},
    "dragan": {"lr": ("5e-4", "2e-3", "4e-3"), "penalty": ("10", "1"), **ADAM},
    "infogan": {"lr": ("5e-4", "2e-3"), "lr-generator": ("2e-3", "4e-3"), **ADAM},
    "wgan-gp": {"lr": ("1e-3", "2e-3", "4e-3"), "n-critic": ("1", "2", "5"), "penalty": ("10", "1")},
    "wgan": {"lr": ("5e-4", "1e-3", "2e-3"), "n-critic": ("1", "2", "5"), "clip": ("0.01", "0.03", "0.1")},
}  # fmt: skip
"""What is tried, of each model; `--options` tries anything else."""


def trial(model: str, options: str, steps: int, seed: int) -> dict[str, object]:
    """A line of results: the run of `model` with `options` ("--lr 1e-3 ...") and its evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = ["run", model, *options.split(), "--steps", str(steps), "--seed", str(seed), "--quiet"]
        _ganzoo(*command, "--out", str(run))
        found = json.loads(_ganzoo("eval", str(run), "--json"))["metrics"]
        made = json.loads((run / "run.json").read_text())["versions"]
    return {
        "model": model, "options": options, "steps": steps, "seed": seed, "fid": round(found["fid"], 3),
        "recall": round(found["recall"], 3), "ganzoo": made["ganzoo"], "torch": made["torch"],
    }  # fmt: skip


def _ganzoo(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "ganzoo", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"ganzoo {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@click.command(help=__doc__)
@click.argument("models", nargs=-1, required=True)
@click.option("--steps", type=click.IntRange(1), required=True, help="Steps of each trial.")
@click.option("--seeds", default="0", show_default=True, help="Seeds, by commas.")
@click.option("--options", multiple=True, help="Options to try instead of the grid, such as '--lr 1e-3 --b1 0'.")
@click.option("--jobs", default=1, show_default=True, help="Trials at a time, on one thread each where several.")
def main(models: tuple[str, ...], steps: int, seeds: str, options: tuple[str, ...], jobs: int) -> None:
    known = list(csv.DictReader(RESULTS.open())) if RESULTS.exists() else []
    done = {(line["model"], line["options"], line["steps"], line["seed"]) for line in known}
    trials = []
    for model in models:
        grid = GRIDS.get(model, {})
        named = [[f"--{name} {value}" for value in values] for name, values in grid.items()]
        for chosen, seed in itertools.product(options or map(" ".join, itertools.product(*named)), seeds.split(",")):
            if (model, chosen, str(steps), seed) not in done:
                trials.append((model, chosen, steps, int(seed)))
    if jobs > 1:
        os.environ["OMP_NUM_THREADS"] = "1"
    lock = Lock()

    def one(arguments: tuple[str, str, int, int]) -> None:
        line = trial(*arguments)
        with lock, RESULTS.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            if not file.tell():
                writer.writeheader()
            writer.writerow(line)
        click.echo(json.dumps(line))

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, trials))


if __name__ == "__main__":
    main()
