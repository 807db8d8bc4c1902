"""`ganzoo compare MODEL...`: what is missing is trained, what is there is used."""

import json
import re
import shlex
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

from conftest import TINY
from ganzoo import apart
from ganzoo.commands.choices import parse_seeds
from ganzoo.errors import UsageError
from ganzoo.plugins import registry
from ganzoo.report.pictures import samples
from ganzoo.report.read import read_run
from ganzoo.runs.run import Run
from ganzoo_test_plugins import Plain

QUICK = ("--dataset", "small-digits", "--steps", 3, "--quiet")
RUNS = Path("runs/compare")


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr("ganzoo.runs.measuring.MEASURED", 100)
    monkeypatch.setattr("ganzoo.metrics.training.N", 100)


@pytest.fixture(autouse=True)
def _here(monkeypatch) -> None:
    """Runs are trained in this process, where a test can meddle with them: tests/test_apart.py has the others."""
    monkeypatch.setattr("ganzoo.provide.train_apart", apart.train)


def test_models_are_trained_once_with_every_seed_and_reported(ganzoo):
    arguments = ("compare", "tiny", "plain", *QUICK, "--seeds", "0,1", "--json")
    first = ganzoo(*arguments)
    assert (first.code, first.err) == (0, "")
    told = json.loads(first.out)
    (group,) = told["groups"]
    assert {line["name"]: [r["seed"] for r in line["runs"]] for line in group["lines"]} == {
        "tiny": [0, 1],
        "plain": [0, 1],
    }
    assert all(line["values"]["fid"]["n"] == 2 for line in group["lines"])
    assert all(line["values"]["memory"]["mean"] > 0 for line in group["lines"])
    assert sorted(p.name for p in RUNS.iterdir()) == [
        "plain-small-digits-3steps-seed0", "plain-small-digits-3steps-seed1", "report.html",
        "tiny-small-digits-3steps-seed0", "tiny-small-digits-3steps-seed1",
    ]  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in RUNS.glob("*/*.json")}
    assert ganzoo(*arguments).code == 0
    assert {path: path.stat().st_mtime_ns for path in RUNS.glob("*/*.json")} == before


def test_a_seed_that_diverges_is_named_and_the_others_are_reported(ganzoo, monkeypatch):
    from ganzoo.launch import _train

    def diverging(run, prepared, *rest):
        if (prepared.plan.model.name, prepared.plan.settings.seed) == ("tiny", 1):
            prepared.trainer.gan.options.__dict__["explode_at"] = 2
        _train(run, prepared, *rest)

    monkeypatch.setattr("ganzoo.launch._train", diverging)
    result = ganzoo("compare", "tiny", *QUICK, "--seeds", "0,1", "-o", "r.json", "-o", "r.html")
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert result.err.startswith(
        "error: the report is written, but not whole: runs/compare/tiny-small-digits-3steps-seed1: "
    )
    told = json.loads(Path("r.json").read_text())
    (failure,) = told["failed"]
    assert failure in told["cautions"]
    line = told["groups"][0]["lines"][0]
    assert (line["values"]["fid"]["n"], line["values"]["fid"]["note"]) == (1, "1 of 2 seeds")
    assert "1 of 2 seeds" in Path("r.html").read_text()
    alone = ganzoo("compare", "tiny", *QUICK, "--seeds", "1")
    assert (alone.code, alone.err) == (1, f"error: {failure}\n")
    monkeypatch.setattr("ganzoo.launch._train", _train)
    assert ganzoo("compare", "tiny", *QUICK, "--seeds", "0,1").code == 0


def test_models_that_cannot_be_built_do_not_keep_another_from_being_reported(ganzoo, monkeypatch):
    from ganzoo import preparing

    build = preparing.build

    def picky(model, *rest):
        if model.name == "plain":
            raise preparing.GanzooError("it does not fit")
        return build(model, *rest)

    monkeypatch.setattr("ganzoo.preparing.build", picky)
    result = ganzoo("compare", "plain", "tiny", *QUICK, "--seeds", "0,1", "-o", "r.json")
    assert result.code == 1
    assert result.err.endswith("plain-small-digits-3steps-seed0: it does not fit (and 1 more)\n")
    told = json.loads(Path("r.json").read_text())
    assert [line["name"] for line in told["groups"][0]["lines"]] == ["tiny"]


def test_a_plugins_own_exception_while_a_run_is_prepared_does_not_keep_another_from_being_reported(ganzoo, monkeypatch):
    monkeypatch.setattr(Plain, "optimizer", lambda self, player: self.options.gone, raising=False)
    result = ganzoo("compare", "tiny", "plain", *QUICK, "-o", "r.json")
    assert result.code == 1
    assert "plain-small-digits-3steps-seed0: cannot be trained: " in result.err
    told = json.loads(Path("r.json").read_text())
    assert [line["name"] for line in told["groups"][0]["lines"]] == ["tiny"]


def test_a_preset_is_trained_in_a_folder_of_its_own_and_named(ganzoo):
    result = ganzoo("compare", "tiny", "tiny:short", *QUICK, "--json")
    assert result.code == 0, result.err
    (group,) = json.loads(result.out)["groups"]
    assert {line["name"] for line in group["lines"]} == {"tiny", "tiny:short"}
    folder = RUNS / "tiny-short-small-digits-3steps-seed0"
    info = json.loads((folder / "run.json").read_text())
    assert (info["preset"], info["options"]["batch_size"], info["settings"]["steps"]) == ("short", 16, 3)
    assert ganzoo("compare", "tiny:short", "--dataset", "small-digits", "--quiet").code == 0
    assert (RUNS / "tiny-short-small-digits-7steps-seed0").is_dir()


def test_translators_are_trained_on_sources_that_are_made_as_run_makes_them(ganzoo):
    arguments = ("compare", "tiny-translator", *QUICK, "--json")
    for source, folder in (("hole:0.25", "hole0.25"), ("edges", "edges")):
        result = ganzoo(*arguments, "--source", source)
        assert result.code == 0, result.err
        run = RUNS / f"tiny-translator-small-digits-{folder}-3steps-seed0"
        assert json.loads((run / "run.json").read_text())["settings"]["source"] == source
        assert json.loads((run / "eval.json").read_text())["protocol"]["made_from"]
    before = {path: path.stat().st_mtime_ns for path in RUNS.glob("*/*.json")}
    assert ganzoo(*arguments, "--source", "hole:0.250").code == 0
    assert {path: path.stat().st_mtime_ns for path in RUNS.glob("*/*.json")} == before


def test_a_run_of_another_preset_is_not_passed_off(ganzoo):
    assert ganzoo("compare", "tiny", *QUICK).code == 0
    (RUNS / "tiny-small-digits-3steps-seed0").rename(RUNS / "tiny-short-small-digits-3steps-seed0")
    result = ganzoo("compare", "plain", "tiny:short", *QUICK)
    assert (result.code, (RUNS / "plain-small-digits-3steps-seed0").exists()) == (2, False)
    assert "tiny-short-small-digits-3steps-seed0 is a run of tiny: choose another --out" in result.err


def test_an_interrupted_run_goes_on(ganzoo, monkeypatch):
    save, calls = Run.finish, []

    def killed(self, trainer):
        calls.append(trainer.step)
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "finish", killed)
    assert ganzoo("compare", "tiny", *QUICK).code == 130
    monkeypatch.setattr(Run, "finish", save)
    result = ganzoo("compare", "tiny", *QUICK)
    assert result.code == 0, result.err
    status = json.loads((RUNS / "tiny-small-digits-3steps-seed0" / "status.json").read_text())
    assert (status["status"], status["step"]) == ("finished", 3)


def test_a_run_with_other_options_is_not_passed_off(ganzoo):
    assert ganzoo("compare", "tiny", *QUICK).code == 0
    path = RUNS / "tiny-small-digits-3steps-seed0" / "run.json"
    info = json.loads(path.read_text())
    info["options"]["lr"] = 0.5
    path.write_text(json.dumps(info))
    result = ganzoo("compare", "tiny", *QUICK)
    assert result.code == 2
    assert "was trained with lr 0.5, not 0.0002: choose another --out" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tinny",), "did you mean 'tiny'?"),
        (("tinny:short",), "did you mean 'tiny'?"),
        (("tiny:shart",), "model 'tiny' has no preset 'shart': did you mean 'short'?"),
        (("tiny:",), "tiny:: name a preset after the colon, or leave it out"),
        (("tiny", "--dataset", "small-digit"), "did you mean 'small-digits'?"),
        (("runs/nothing",), "runs/nothing is not a run directory: there is no such folder"),
        (("tiny", "--seeds", "0,x"), "write 0-15, or 3,7"),
        (("tiny", "--max-time", "soon"), "write a duration as 90s"),
        (("tiny", "--source", "edges"), "--source edges: model 'tiny' does not make images from images: leave it out"),
        (("cyclegan", "--dataset", "small-unpaired", "--sampling", "output=source"), "no metric is of sources yet"),
        (("--source", "edges"), "--source is for models that are to be trained, and none is named"),
        (("",), "an argument is empty: name a run, a folder of runs or a model"),
        (("--seeds", "1"), "--seeds is for models that are to be trained, and none is named"),
        (("--max-time", "2m"), "--max-time is for models that are to be trained"),
    ],
)
def test_a_mistake_is_told_before_anything_is_trained(ganzoo, arguments, message):
    result = ganzoo("compare", *arguments)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not Path("runs").exists()


# Runs that are there


def test_runs_that_are_not_measured_are_measured_as_the_others_were(ganzoo, monkeypatch):
    for seed in (0, 1, 2):
        assert ganzoo("run", *TINY, "--steps", 3, "--seed", seed, "--out", f"r{seed}", "--quiet").code == 0
    assert ganzoo("eval", "r0", "--n", 60, "--split", "train", "--seed", 7, "--features", "look").code == 0
    before = Path("r0/eval.json").stat().st_mtime_ns
    plain = ganzoo("compare", "r0", "r1", "r2", "-o", "r.json")
    assert plain.code == 0, plain.err
    assert "note: not evaluated: r1, r2. The same command with `--eval` measures them first." in plain.out
    result = ganzoo("compare", "r0", "r1", "r2", "--eval", "-o", "r.json", "--quiet")
    assert (result.code, result.err) == (0, "")
    (group,) = json.loads(Path("r.json").read_text())["groups"]
    (line,) = group["lines"]
    assert line["values"]["fid"]["n"] == 3
    for part in ("n", "split", "extractor", "labels"):
        assert {json.loads(Path(f"r{i}/eval.json").read_text())["protocol"][part] for i in (1, 2)} == {
            json.loads(Path("r0/eval.json").read_text())["protocol"][part]
        }
    assert Path("r0/eval.json").stat().st_mtime_ns == before


def test_a_run_that_is_not_measured_is_measured_as_most_of_the_others_were(ganzoo):
    for seed, n in enumerate((50, 60, 60, None)):
        assert ganzoo("run", *TINY, "--steps", 1, "--seed", seed, "--out", f"r{seed}", "--quiet").code == 0
        if n is not None:
            assert ganzoo("eval", f"r{seed}", "--n", n, "--features", "look", "--metrics", "fid").code == 0
    assert ganzoo("compare", "r0", "r1", "r2", "r3", "--eval", "--quiet").code == 0
    assert json.loads(Path("r3/eval.json").read_text())["protocol"]["n"] == 60


def test_a_run_whose_generator_is_damaged_costs_no_other_its_measurement(ganzoo):
    for seed in (0, 1):
        assert ganzoo("run", *TINY, "--steps", 1, "--seed", seed, "--out", f"r{seed}", "--quiet").code == 0
    assert ganzoo("eval", "r0", "--n", 50, "--features", "look", "--metrics", "fid").code == 0
    Path("r0/generator.safetensors").write_bytes(b"\0" * 8)
    result = ganzoo("compare", "r0", "r1", "--eval", "--quiet", "-o", "r.json")
    assert result.code == 1
    assert "r0: " in result.err
    assert "damaged" in result.err
    assert Path("r1/eval.json").is_file()


def test_the_best_checkpoints_of_runs_are_compared_and_the_last_numbers_stay(ganzoo):
    few = ("--steps", 40, "--checkpoint-interval", 20, "--quiet")
    for seed in (0, 1):
        assert ganzoo("run", *TINY, *few, "--seed", seed, "--out", f"r{seed}").code == 0
        Path(f"r{seed}/checkpoints/best.json").write_text(json.dumps({"step": 20, "score": 1.5}))
        assert ganzoo("eval", f"r{seed}", "--n", 60, "--features", "look", "--metrics", "fid").code == 0
    last = Path("r0/eval.json").read_text()
    best = ("compare", "r0", "r1", "--checkpoint", "best", "--quiet", "-o", "r.json")
    assert "`ganzoo compare r0 r1 --eval --checkpoint best` measures them." in ganzoo(*best).out
    how = ("--n", 50, "--features", "look", "--metrics", "fid", "--checkpoint", "best")
    assert ganzoo("eval", "r0", *how).code == 0
    told = ganzoo(*best, "--eval")
    assert told.code == 0, told.err
    assert "note: The generators are of checkpoint 'best'; times, memory and curves are of the whole run." in told.out
    results = [json.loads(Path(f"r{seed}/eval-best.json").read_text()) for seed in (0, 1)]
    assert [(result["step"], result["protocol"]["n"]) for result in results] == [(20, 50)] * 2
    (line,) = json.loads(Path("r.json").read_text())["groups"][0]["lines"]
    assert line["values"]["fid"]["values"] == [result["metrics"]["fid"] for result in results]
    assert line["runs"][0]["measure"].endswith(" --checkpoint best")
    assert Path("r0/eval.json").read_text() == last
    drawn = [samples(read_run(Path("r0"), checkpoint), registry()).source for checkpoint in ("best", None)]
    assert drawn[0] != drawn[1]
    Path("r0/checkpoints/best.json").write_text(json.dumps({"step": 40, "score": 1.0}))
    assert "r0: measured at step 20, its checkpoint 'best' is of step 40" in ganzoo(*best).out


def test_a_run_without_the_checkpoint_that_is_compared_is_named_and_the_others_are_reported(ganzoo):
    few = ("--steps", 20, "--checkpoint-interval", 20, "--quiet")
    for seed in (0, 1):
        assert ganzoo("run", *TINY, *few, "--seed", seed, "--out", f"r{seed}").code == 0
    Path("r0/checkpoints/best.json").write_text(json.dumps({"step": 20, "score": 1.5}))
    result = ganzoo("compare", "r0", "r1", "--checkpoint", "best", "--eval", "--quiet")
    assert result.code == 1
    assert "not whole: r1: r1 has no best checkpoint" in result.err
    assert "reaches FID" in result.out
    told = ganzoo("compare", "r0", "r1", "--checkpoint", "20", "--quiet")
    assert "`ganzoo compare r0 r1 --eval --checkpoint 20` measures them." in told.out
    shutil.move("r1/checkpoints", "elsewhere")
    told = ganzoo("compare", "r0", "r1", "--checkpoint", "20", "--quiet")
    assert (told.code, told.err) == (0, "")
    assert "`ganzoo compare r0 --eval --checkpoint 20` measures them." in told.out
    assert [line for line in told.out.splitlines() if "r1" in line] == ["note: r1 has no checkpoint"]
    none = ganzoo("compare", "r0", "r1", "--checkpoint", "777")
    reason = "r0 has no checkpoint of step 777; it has 20 (best)"
    assert (none.code, none.err) == (2, f"error: no run here has checkpoint '777': {reason}\n")
    wrong = ganzoo("compare", "r0", "--checkpoint", "../x")
    assert (wrong.code, wrong.err) == (2, "error: --checkpoint ../x: say best, last or the number of a step\n")


def test_what_a_stranger_named_a_run_is_shown_without_what_a_terminal_obeys(ganzoo):
    assert ganzoo("run", *TINY, "--steps", 2, "--out", "r\x1b]0;t\x07", "--quiet").code == 0
    told = ganzoo("compare", "r\x1b]0;t\x07", "-o", "x.md")
    assert told.code == 0, told.err
    assert "r\ufffd]0;t\ufffd" in told.out
    assert not {"\x1b", "\x07"} & set(told.out)


def test_runs_that_were_measured_by_all_but_the_fid_are_told_what_measures_it(ganzoo):
    for seed in (0, 1):
        assert ganzoo("run", *TINY, "--steps", 3, "--seed", seed, "--out", f"r{seed}", "--quiet").code == 0
        assert ganzoo("eval", f"r{seed}", "--n", 60, "--metrics", "nearest").code == 0
    told = ganzoo("compare", "r0", "r1").out
    assert "No run here has a FID" in told
    assert "--eval`" not in told  # It would measure nothing.
    command = "ganzoo eval r0 --split test --metrics nearest,fid --n 60 --seed 0"
    assert f"`{command}` measures that of the first, and so on." in told
    assert ganzoo(*shlex.split(command)[1:], "--features", "look").code == 0
    assert "reaches FID" in ganzoo("compare", "r0", "r1").out


def test_where_no_extractor_is_known_nothing_is_told_to_measure_the_fid(ganzoo):
    few = ("--dataset", "small-pairs", "--image-size", 16, "--steps", 2, "--loggers", "none", "--quiet")
    assert ganzoo("run", "tiny-translator", *few, "--out", "r").code == 0
    assert ganzoo("eval", "r").code == 0
    told = ganzoo("compare", "r/").out
    assert "It could not be measured of r: no feature extractor is known for 'small-pairs': train one with `" in told
    assert "--eval`" not in told


def test_a_run_that_cannot_be_measured_does_not_keep_the_others_from_it(ganzoo):
    for seed in (0, 1):
        assert ganzoo("run", *TINY, "--steps", 3, "--seed", seed, "--out", f"r{seed}", "--quiet").code == 0
    Path("r0/generator.safetensors").write_bytes(b"damaged")
    result = ganzoo("compare", "r0", "r1", "--eval", "--quiet", "-o", "r.json")
    assert result.code == 1
    assert result.err.startswith("error: the report is written, but not whole: r0: r0/generator.safetensors is damaged")
    assert Path("r1/eval.json").exists()


def test_further_seeds_of_runs_are_trained_beside_them_and_measured_alike(ganzoo):
    assert ganzoo("run", *TINY, "--steps", 3, "--seed", 1, "--out", "runs/mine", "--quiet").code == 0
    assert ganzoo("eval", "runs/mine", "--n", 60, "--split", "train", "--features", "look").code == 0
    arguments = ("compare", "runs/mine", "--seeds", "0-2", "-o", "r.json", "--quiet")
    for _ in range(2):
        result = ganzoo(*arguments)
        assert (result.code, result.err) == (0, "")
    assert sorted(path.name for path in Path("runs").iterdir()) == ["mine", "mine-seed0", "mine-seed2"]
    (group,) = json.loads(Path("r.json").read_text())["groups"]
    (line,) = group["lines"]
    assert [run["seed"] for run in line["runs"]] == [0, 1, 2]
    assert line["values"]["fid"]["n"] == 3
    Path("runs/mine-seed2").rename(Path("runs/elsewhere"))
    assert ganzoo("run", "plain", *TINY[1:], "--steps", 3, "--out", "runs/mine-seed2", "--quiet").code == 0
    for _ in range(2):  # The name is another run's.
        assert ganzoo(*arguments).code == 0
    names = ["elsewhere", "mine", "mine-seed0", "mine-seed2", "mine-seed2-2"]
    assert sorted(path.name for path in Path("runs").iterdir()) == names
    mine, other = (json.loads(Path(f"runs/{name}/run.json").read_text()) for name in ("mine", "mine-seed2-2"))
    assert mine["options"] == other["options"]
    same = {**mine["settings"], "seed": 2}
    assert {k: v for k, v in other["settings"].items() if k != "loggers"} == {
        k: v for k, v in same.items() if k != "loggers"
    }


def test_further_seeds_of_runs_on_vectors_are_measured_alike(ganzoo):
    few = ("--dataset", "ring", "--steps", 2, "--loggers", "none", "--quiet")
    assert ganzoo("run", "gan", *few, "--out", "runs/mine").code == 0
    assert ganzoo("eval", "runs/mine", "--n", 60, "--metrics", "modes").code == 0
    result = ganzoo("compare", "runs/mine", "--seeds", "0-1", "-o", "r.json", "--quiet")
    assert (result.code, result.err) == (0, "")
    assert re.match(r"gan reaches [\d.]+ of 8 modes\.", result.out)
    assert "--eval" not in result.out
    (line,) = json.loads(Path("r.json").read_text())["groups"][0]["lines"]
    assert [run["seed"] for run in line["runs"]] == [0, 1]


def test_an_imported_run_has_no_further_seeds(ganzoo):
    assert ganzoo("run", *TINY, "--steps", 1, "--out", "r", "--quiet").code == 0
    info = json.loads(Path("r/run.json").read_text())
    Path("r/run.json").write_text(json.dumps(info | {"imported": {"file": "x.pkl"}}))
    result = ganzoo("compare", "r", "--seeds", "0-2")
    assert (result.code, result.err) == (
        2,
        "error: --seeds: r was imported, and cannot be trained with another seed\n",
    )


def test_seeds_are_a_list_or_a_range():
    assert parse_seeds("0,1,2") == [0, 1, 2]
    assert parse_seeds("7, 2-4") == [7, 2, 3, 4]
    assert parse_seeds("0" * 12 + "7,00") == [7, 0]
    for text in ("4-2", "0-5", "9" * 5000):
        with pytest.raises(UsageError, match="give 5 at most, in order, each below"):
            parse_seeds(text, 5)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder without a split of its own, and an extractor in a file."""
    shutil.copy(files("ganzoo_plugins.digits") / "digits.safetensors", tmp_path / "mine.safetensors")
    (tmp_path / "pics").mkdir()
    for i in range(20):
        Image.new("L", (8, 8), 10 * i).save(tmp_path / f"pics/{i}.png")
    return tmp_path / "pics"


def test_runs_are_measured_on_the_data_and_by_the_file_that_were_asked_for(ganzoo, pictures):
    few = ("--dataset", "small-digits", "--steps", 2, "--loggers", "none", "--quiet")
    for seed in (0, 1):
        assert ganzoo("run", "plain", *few, "--seed", seed, "--out", f"r{seed}").code == 0
    data = ("--dataset", "folder", "--data-root", pictures.name, "--test-share", 0.5)
    how = ("--features", "mine.safetensors", "--metrics", "fid", "--n", 20)
    assert ganzoo("eval", "r0", *data, *how).code == 0
    assert ganzoo("compare", "r0", "r1", "--eval", "--quiet", "-o", "r.json").code == 0
    (group,) = json.loads(Path("r.json").read_text())["groups"]
    assert group["protocol"]["split"] == "held-out"
    for run in group["lines"][0]["runs"]:
        for command in (run["repeat"], run["measure"]):
            assert ganzoo(*shlex.split(command)[1:]).code == 0
    protocols = [json.loads(Path(name, "eval.json").read_text())["protocol"] for name in ("r0", "r1", "r1-again")]
    assert protocols[0] == protocols[1] == protocols[2]


def test_a_part_that_was_held_out_is_asked_for_as_the_test_split_also_of_older_results(ganzoo, pictures):
    data = ("--dataset", "folder", "--data-root", pictures, "--test-share", 0.5)
    few = ("--batch-size", 4, "--steps", 2, "--loggers", "none", "--quiet")
    assert ganzoo("run", "plain", *data, *few, "--out", "r0").code == 0
    assert ganzoo("eval", "r0", "--features", "look", "--metrics", "fid", "--n", 20).code == 0
    result = json.loads(Path("r0/eval.json").read_text())
    assert result["protocol"]["split"] == "held-out"
    del result["asked"]
    Path("r0/eval.json").write_text(json.dumps(result))
    measuring = shlex.split(read_run(Path("r0")).measuring)
    assert ganzoo("eval", "r0", *measuring[3:]).code == 0
    assert json.loads(Path("r0/eval.json").read_text())["protocol"] == result["protocol"]
