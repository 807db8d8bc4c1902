"""`--checkpoint best|last|STEP`: what was averaged then is what is drawn, measured and exported."""

import json
import shutil

import numpy as np
import pytest
import torch

import ganzoo as zoo
from conftest import TINY, arrays, run_here
from ganzoo.errors import UsageError
from ganzoo.runs.checkpoint import Checkpoints
from ganzoo.runs.weights import about


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of 60 steps with checkpoints of the last two tens, and the first of them scored as the best."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    steps = ("--steps", 60, "--checkpoint-interval", 20)
    run_here("run", *TINY, "--quiet", "--engine", "eager", *steps, "--out", folder, cwd=folder.parent)
    (folder / "checkpoints" / "best.json").write_text(json.dumps({"step": 40, "score": 1.5}))
    return folder


@pytest.fixture
def run(made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    return folder


def weights(run, which):
    return zoo.load(run, checkpoint=which).gan.generator.state_dict()


def same(one, other) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_checkpoint_holds_the_average_of_its_step(run):
    kept = Checkpoints(run / "checkpoints").load(40, torch.device("cpu"))["ema"]
    assert same(weights(run, 40), kept)
    assert same(weights(run, "best"), kept)
    assert same(weights(run, "last"), weights(run, None))
    assert not same(weights(run, 40), weights(run, None))
    assert zoo.load(run, checkpoint="best").step == 40
    assert zoo.load(run).step == 60


def test_samples_and_exports_are_of_the_checkpoint_that_is_named(ganzoo, run):
    for which in ("40", "last"):
        assert ganzoo("sample", run, "--checkpoint", which, "-n", 4, "-o", f"{which}.npz").code == 0
    assert ganzoo("sample", run, "-n", 4, "-o", "saved.npz").code == 0
    early, last, saved = (arrays(f"{name}.npz")["images"] for name in ("40", "last", "saved"))
    assert (last == saved).all()
    assert (early != saved).any()
    assert ganzoo("export", run, "--checkpoint", "best", "--format", "safetensors", "-o", "best.safetensors").code == 0
    assert about(run.parent / "best.safetensors")["step"] == "40"


def test_numbers_of_a_checkpoint_stand_beside_those_of_the_run(ganzoo, run):
    options = ("--n", 64, "--metrics", "nearest", "--json")
    assert json.loads(ganzoo("eval", run, "--checkpoint", "best", *options).out)["step"] == 40
    assert json.loads((run / "eval-best.json").read_text())["step"] == 40
    assert not (run / "eval.json").exists()
    assert json.loads(ganzoo("eval", run, *options).out)["step"] == 60


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("30", "has no checkpoint of step 30; it has 40 (best), 60"),
        ("worst", "--checkpoint worst: say best, last or the number of a step"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_one_line(ganzoo, run, which, said):
    result = ganzoo("sample", run, "--checkpoint", which)
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert result.err.rstrip().endswith(said)
    assert result.err.count("\n") == 1


def test_a_run_that_was_never_scored_has_no_best(run):
    (run / "checkpoints" / "best.json").unlink()
    with pytest.raises(UsageError, match="has no best checkpoint: none was scored, as --eval-every does"):
        zoo.load(run, checkpoint="best")


def test_images_have_no_checkpoint(ganzoo, tmp_path):
    np.savez(tmp_path / "some.npz", images=np.zeros((8, 1, 28, 28), np.uint8))
    result = ganzoo("eval", "some.npz", "--checkpoint", "best")
    assert (result.code, result.err) == (2, "error: --checkpoint is for a run: some.npz holds images\n")
