"""What version 0.1.0 wrote still works: its run directories are resumed, sampled, compared and repeated."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ganzoo
from conftest import arrays

DATA = Path(__file__).parent / "data"


@pytest.fixture
def old(tmp_path):
    return Path(shutil.copytree(DATA / "acgan-0.1.0", tmp_path / "old"))


def test_a_run_of_an_older_version_is_resumed_to_where_that_version_took_it(ganzoo, old):
    result = ganzoo("resume", old, "--steps", 45, "--quiet")
    assert result.code == 0, result.err
    expected = load_file(DATA / "acgan-0.1.0-step-45.safetensors")
    found = load_file(old / "generator.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():  # Machines round differently.
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


def test_a_run_of_an_older_version_draws_the_samples_that_it_drew(old):
    expected = arrays(DATA / "acgan-0.1.0-samples.npz")["images"].astype(int)
    images = ganzoo.load(old).sample(8, seed=5)
    found = images.add(1).mul(127.5).round().numpy().astype(int)
    assert np.abs(found - expected).max() <= 1


def test_a_run_of_an_older_version_is_repeated_with_its_own_options(ganzoo, old):
    result = ganzoo("run", "--config", old / "run.json", "--dry-run", "--json")
    assert result.code == 0, result.err
    plan = json.loads(result.out)
    assert (plan["model"], plan["steps"], plan["options"]["width"]) == ("acgan", 30, 1)


def test_an_evaluation_of_an_older_version_is_shown_in_a_report(ganzoo, old, tmp_path):
    result = ganzoo("compare", old, "-o", tmp_path / "report.json")
    assert result.code == 0, result.err
    assert '"fid": 5.11' in (tmp_path / "report.json").read_text()
