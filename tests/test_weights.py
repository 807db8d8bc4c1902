"""Files of weights: reproducible byte for byte, checked, and one for each module that a run keeps."""

import json

import pytest
import torch
from safetensors.torch import save

import ganzoo as package
from ganzoo.errors import GanzooError, UsageError
from ganzoo.runs import weights

TENSORS = {"b": torch.arange(3.0), "a": torch.ones(2, 2)}
ABOUT = {"model": "x", "step": "7", "more": "1", "still": "2"}


def test_equal_weights_make_equal_files_byte_for_byte():
    assert len({weights.pack(TENSORS, dict(sorted(ABOUT.items(), reverse=i % 2 > 0))) for i in range(30)}) == 1


def test_what_was_packed_is_read_with_what_was_said_of_it(tmp_path):
    (tmp_path / "x").write_bytes(weights.pack(TENSORS, ABOUT))
    found = weights.read(tmp_path / "x")
    assert all(torch.equal(found[name], value) for name, value in TENSORS.items())
    assert weights.about(tmp_path / "x").items() >= ABOUT.items()
    assert weights.shapes(tmp_path / "x") == {"a": (2, 2), "b": (3,)}


def test_a_file_of_an_older_version_has_its_words_in_keys_of_their_own(tmp_path):
    about = {**ABOUT, weights.CHECKSUM: weights.checksum(TENSORS, ABOUT)}
    (tmp_path / "x").write_bytes(save(TENSORS, about))
    assert weights.read(tmp_path / "x").keys() == TENSORS.keys()
    assert weights.about(tmp_path / "x")["step"] == "7"


@pytest.mark.parametrize("told", ["{", "{}}", '{"step": 7}', '{"sha256": "0"}', "{" * 100_000])
def test_metadata_that_is_not_ganzoos_is_one_line(tmp_path, told):
    (tmp_path / "x").write_bytes(save(TENSORS, {weights.KEY: told}))
    with pytest.raises(GanzooError, match="x is damaged: "):
        weights.read(tmp_path / "x")


def test_two_equal_runs_leave_equal_files(ganzoo, tmp_path):
    for name in "ab":
        run = ("run", "tiny", "--dataset", "small-digits", "--steps", 4, "--batch-size", 32, "--loggers", "none")
        assert ganzoo(*run, "--quiet", "--out", name).code == 0
        assert ganzoo("export", name, "--format", "safetensors", "-o", f"{name}.safetensors").code == 0
    for path in ("{}/generator.safetensors", "{}.safetensors"):
        one, two = ((tmp_path / path.format(name)).read_bytes() for name in "ab")
        assert one == two


def test_every_module_that_a_run_keeps_is_loaded(ganzoo, tmp_path):
    run = ("run", "tiny-inverted", "--dataset", "small-digits", "--steps", 4, "--batch-size", 32, "--loggers", "none")
    assert ganzoo(*run, "--quiet", "--out", "r").code == 0
    state = torch.load(tmp_path / "r" / "checkpoints" / "step-00000004.pt", weights_only=True)
    sampler = package.load(tmp_path / "r")
    for name, value in state["averages"]["encoder"].items():
        assert torch.equal(sampler.gan.encoder.state_dict()[name], value), name
    assert not sampler.gan.encoder.training
    assert json.loads(ganzoo("sample", "r", "-n", 4, "--json").out)["images"] == 4

    (tmp_path / "r" / "encoder.safetensors").unlink()
    with pytest.raises(UsageError, match=r"holds no encoder.safetensors: `ganzoo resume .*` writes it"):
        package.load(tmp_path / "r")
    assert ganzoo("resume", "r", "--quiet").code == 0
    package.load(tmp_path / "r")
