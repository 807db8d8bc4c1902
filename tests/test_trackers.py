"""The loggers `wandb` and `mlflow`: with the real packages where they are installed, with stand-ins everywhere."""

import ast
import json
import os
import random
import sqlite3
import sys
import time
from collections import namedtuple
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from ganzoo_plugins.mlflow import MLflow, plain_name
from ganzoo_plugins.wandb import WeightsAndBiases

from conftest import PATIENCE
from ganzoo.errors import GanzooError, UsageError
from ganzoo.loggers import about, ended, grouped, kept_id

RUN = ("run", "tiny", "--dataset", "small-digits", "--batch-size", 32, "--engine", "eager", "--quiet", "--out", "r")
RUN += ("--steps", 5, "--sample-interval", 3)
GREY = np.full((4, 6, 3), 128, dtype=np.uint8)


# Stand-ins: what the plugins call, kept as it was called


@pytest.fixture
def wandb(monkeypatch):
    """A module in wandb's place; `runs` holds what each `init` was given, logged and how it ended."""
    module = ModuleType("wandb")
    module.runs = []

    class Run:
        def __init__(self, **given):
            self.given, self.logged, self.code = given, [], None
            module.runs.append(self)

        def log(self, values, step):
            self.logged.append((step, values))

        def finish(self, exit_code):
            self.code = exit_code

    module.init = Run
    module.Settings = dict
    module.Image = lambda picture: ("image", picture.shape)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


class Missing(Exception):
    error_code = "RESOURCE_DOES_NOT_EXIST"


@pytest.fixture
def mlflow(monkeypatch):
    """Modules in MLflow's place, whose client keeps runs in memory, by store."""
    kept = SimpleNamespace(stores={}, place=None)
    names = ("mlflow", "mlflow.tracking", "mlflow.entities", "mlflow.exceptions")
    modules = {name: ModuleType(name) for name in names}

    class Client:
        def __init__(self, tracking_uri):
            self.store = kept.stores.setdefault(tracking_uri, {"experiments": {}, "runs": {}})

        def get_experiment_by_name(self, name):
            return self.store["experiments"].get(name)

        def create_experiment(self, name, artifact_location):
            made = SimpleNamespace(experiment_id=name, place=artifact_location, lifecycle_stage="active")
            self.store["experiments"][name] = made
            return name

        def create_run(self, experiment, run_name):
            number = f"{len(self.store['runs']) + 1:032x}"
            place = self.store["experiments"][experiment].place
            where = f"{place}/{number}/artifacts"
            info = SimpleNamespace(run_id=number, artifact_uri=where, run_name=run_name, lifecycle_stage="active")
            run = SimpleNamespace(
                info=info, data=SimpleNamespace(metrics={}), params={}, tags={}, history=[], images={}
            )
            self.store["runs"][number] = run
            return run

        def get_run(self, number):
            if number not in self.store["runs"]:
                raise Missing
            return self.store["runs"][number]

        def log_batch(self, number, metrics=(), params=(), tags=()):
            assert len(params) <= 100
            run = self.store["runs"][number]
            run.history += metrics
            run.data.metrics |= {metric.key: metric.value for metric in metrics}
            run.params |= {param.key: param.value for param in params}
            run.tags |= {tag.key: tag.value for tag in tags}

        def get_metric_history(self, number, key):
            return [metric for metric in self.store["runs"][number].history if metric.key == key]

        def log_image(self, number, picture, artifact_file):
            self.store["runs"][number].images[artifact_file] = picture.shape

        def update_run(self, number, status):
            self.store["runs"][number].status = status

        set_terminated = update_run

    modules["mlflow.tracking"].MlflowClient = Client
    modules["mlflow.exceptions"].MlflowException = Missing
    for name, fields in (("Metric", "key value timestamp step"), ("Param", "key value"), ("RunTag", "key value")):
        setattr(modules["mlflow.entities"], name, namedtuple(name, fields))
    modules["mlflow"].tracking = modules["mlflow.tracking"]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return kept


def test_wandb_is_told_of_the_run_and_what_it_logs_in_groups(ganzoo, wandb, tmp_path):
    named = ("--name", "first light", "--tag", "small", "--lr", 0.01)
    assert ganzoo(*RUN, *named, "--loggers", "wandb").code == 0
    (run,) = wandb.runs
    assert (run.given["name"], run.given["tags"], run.given["project"]) == ("first light", ["small"], "ganzoo")
    assert (run.given["config"]["model"], run.given["config"]["lr"], run.given["config"]["steps"]) == ("tiny", 0.01, 5)
    assert run.given["dir"] == "r"
    scalars = {step: values for step, values in run.logged if "loss/generator" in values}
    lines = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert {s: v["loss/generator"] for s, v in scalars.items()} == {x["step"]: x["generator_loss"] for x in lines}
    assert {"loss/discriminator", "speed/images_per_second"} <= scalars[5].keys()
    pictures = [(step, name) for step, values in run.logged for name in values if name in ("real", "generated")]
    assert pictures == [(0, "real"), (3, "generated"), (5, "generated")]
    assert run.code == 0


def test_wandb_goes_on_in_the_same_run(ganzoo, wandb, tmp_path):
    assert ganzoo(*RUN, "--loggers", "wandb").code == 0
    assert ganzoo("resume", "r", "--steps", 8, "--quiet").code == 0
    first, second = wandb.runs
    assert first.given["id"] == second.given["id"] == kept_id(tmp_path / "r" / "wandb" / "id.txt")
    assert second.given["resume"] == "allow"
    assert min(step for step, _ in second.logged) > 5


def test_wandb_hears_that_a_run_failed(ganzoo, wandb, monkeypatch):
    def scalars(self, step, values):
        raise OSError("no room")

    monkeypatch.setattr(WeightsAndBiases, "scalars", scalars)
    result = ganzoo(*RUN, "--loggers", "wandb")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "logger 'wandb' failed in scalars, step 6: OSError: no room" in result.err
    assert wandb.runs[0].code == 1


def test_wandb_without_an_account_is_one_line_that_names_offline_mode(ganzoo, wandb, monkeypatch, tmp_path):
    def refuse(**given):
        raise ValueError("No API key configured.")

    monkeypatch.setattr(wandb, "init", refuse)
    result = ganzoo(*RUN, "--loggers", "wandb")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "No API key configured." in result.err
    assert "WANDB_MODE=offline" in result.err
    assert (tmp_path / "r" / "run.json").exists()  # `ganzoo resume` goes on from there.


def test_mlflow_keeps_a_run_in_its_folder(ganzoo, mlflow, tmp_path):
    named = ("--name", "first light", "--tag", "small")
    assert ganzoo(*RUN, *named, "--loggers", "mlflow").code == 0
    ((uri, store),) = mlflow.stores.items()
    assert uri == f"sqlite:///{tmp_path / 'r' / 'mlflow' / 'mlflow.db'}"
    (run,) = store["runs"].values()
    assert store["experiments"]["ganzoo"].place == (tmp_path / "r" / "mlflow" / "artifacts").as_uri()
    assert (run.info.run_name, run.tags, run.status) == ("first light", {"small": "small"}, "FINISHED")
    assert (run.params["model"], run.params["steps"], run.params["source"]) == ("tiny", "5", "None")
    lines = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    told = {metric.step: metric.value for metric in run.history if metric.key == "loss/generator"}
    assert told == {line["step"]: line["generator_loss"] for line in lines}
    assert list(run.images) == ["real/00000000.png", "generated/00000003.png", "generated/00000005.png"]


def test_mlflow_goes_on_in_the_same_run_and_repeats_nothing(mlflow, tmp_path):
    for begins, steps in ((0, (1, 2, 3)), (1, (2, 3, 4))):  # Killed after step 3, it goes on from step 1.
        logger = MLflow(tmp_path, begins)
        for step in steps:
            logger.scalars(step, {"loss/generator": float(step)})
        logger.close()
    (run,) = next(iter(mlflow.stores.values()))["runs"].values()
    assert [metric.step for metric in run.history] == [1, 2, 3, 4]


def test_mlflow_begins_a_run_of_its_own_in_another_store(mlflow, tmp_path, monkeypatch):
    for uri in ("http://one.test", "http://two.test"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        MLflow(tmp_path, 0).close()
    assert {uri: len(store["runs"]) for uri, store in mlflow.stores.items()} == {
        "http://one.test": 1, "http://two.test": 1,
    }  # fmt: skip
    assert mlflow.stores["http://one.test"]["experiments"]["ganzoo"].place is None  # The server's choice.


def test_an_mlflow_run_that_was_deleted_is_begun_anew(mlflow, tmp_path):
    MLflow(tmp_path, 0).close()
    runs = next(iter(mlflow.stores.values()))["runs"]
    next(iter(runs.values())).info.lifecycle_stage = "deleted"
    MLflow(tmp_path, 0).close()
    assert len(runs) == 2


def test_an_mlflow_experiment_that_was_deleted_is_told_with_a_way_out(mlflow, tmp_path):
    MLflow(tmp_path, 0).close()
    store = next(iter(mlflow.stores.values()))
    store["experiments"]["ganzoo"].lifecycle_stage = "deleted"
    store["runs"].clear()
    with pytest.raises(GanzooError, match="MLflow's experiment 'ganzoo' was deleted: `mlflow experiments restore -x "):
        MLflow(tmp_path, 0)


def test_a_run_goes_on_where_its_loggers_are_not(ganzoo, mlflow, tmp_path, monkeypatch):
    assert ganzoo(*RUN, "--loggers", "mlflow").code == 0
    monkeypatch.setitem(sys.modules, "mlflow", None)
    again = ("resume", "r", "--steps", 7, "--quiet")
    assert "the logger 'mlflow' needs the package mlflow" in ganzoo(*again).err
    assert ganzoo(*again, "--loggers", "none").code == 0
    assert json.loads((tmp_path / "r" / "run.json").read_text())["settings"]["loggers"] == []


def test_an_mlflow_store_that_writes_elsewhere_is_refused(mlflow, tmp_path):
    MLflow(tmp_path, 0).close()
    (run,) = next(iter(mlflow.stores.values()))["runs"].values()
    run.info.artifact_uri = "s3://bucket/elsewhere"
    with pytest.raises(GanzooError, match=r"keeps pictures elsewhere, for it was moved: remove .*mlflow"):
        MLflow(tmp_path, 0)


def test_mlflow_takes_tags_in_any_script_and_a_logger_that_is_named_twice_logs_once(ganzoo, mlflow):
    assert (
        ganzoo(
            *RUN, "--tag", "v=2!", "--tag", "v:2", "--tag", "été", "--tag", "small", "--loggers", "mlflow,mlflow"
        ).code
        == 0
    )
    (run,) = next(iter(mlflow.stores.values()))["runs"].values()
    assert run.tags == {"v_2": "v=2!, v:2", "été": "été", "small": "small"}
    steps = [metric.step for metric in run.history if metric.key == "loss/generator"]
    assert len(steps) == len(set(steps)) > 0


def test_an_mlflow_run_is_known_again_once_all_was_told_of_it(mlflow, tmp_path, monkeypatch):
    client = sys.modules["mlflow.tracking"].MlflowClient

    def refuse(*_, **__):
        raise ValueError("a parameter is refused")

    with monkeypatch.context() as patched:
        patched.setattr(client, "log_batch", refuse)
        with pytest.raises(GanzooError, match="MLflow cannot begin"):
            MLflow(tmp_path, 0)
    assert not (tmp_path / "mlflow" / "id.txt").exists()
    MLflow(tmp_path, 0)
    assert (tmp_path / "mlflow" / "id.txt").exists()


def test_mlflow_has_its_own_patience_once_a_run_has_begun(mlflow, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    seen = []
    client = sys.modules["mlflow.tracking"].MlflowClient
    real = client.create_run
    ask = lambda *given, **named: seen.append(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) or real(*given, **named)  # noqa: E731
    monkeypatch.setattr(client, "create_run", ask)
    MLflow(tmp_path, 0)
    assert seen == ["15"]
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


@pytest.mark.parametrize("name", ["a?b", "a%41"])
def test_a_folder_that_no_address_of_a_database_can_name_is_refused(mlflow, tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match=r"MLflow's database cannot lie in .*: in such an address .* stands for"):
        MLflow(tmp_path / name, 0)
    assert not list((tmp_path / name).iterdir())


def test_an_mlflow_server_that_is_down_is_one_line(ganzoo, mlflow, monkeypatch):
    def down(tracking_uri):
        raise ConnectionError("connection refused")

    monkeypatch.setattr(sys.modules["mlflow.tracking"], "MlflowClient", down)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere.test:1")
    result = ganzoo(*RUN, "--loggers", "mlflow")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "MLflow cannot begin http://nowhere.test:1: ConnectionError: connection refused" in result.err


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_not_installed_is_told_before_anything_is_made(ganzoo, monkeypatch, tmp_path, name):
    monkeypatch.setitem(sys.modules, name, None)  # So that Python does not find it.
    result = ganzoo(*RUN, "--loggers", name)
    assert result.err == f"error: the logger '{name}' needs the package {name}: pip install 'ganzoo[{name}]'\n"
    assert result.code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("plugin", "package"), [(MLflow, "mlflow"), (WeightsAndBiases, "wandb")])
def test_a_plugin_imports_its_package_only_in_use(plugin, package):
    tree = ast.parse(Path(sys.modules[plugin.__module__].__file__).read_text(encoding="utf-8"))
    at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [node for node in at_once if package in ast.unparse(node).split()[1].split(".")]


# With the real packages


def test_the_real_wandb_keeps_a_run_offline(ganzoo, monkeypatch, tmp_path):
    pytest.importorskip("wandb", reason="needs ganzoo[wandb]")
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "r").mkdir()
    random.seed(1)
    before = random.getstate()
    for step in (0, 5):
        logger = WeightsAndBiases(tmp_path / "r", step)
        logger.scalars(step + 1, {"loss/generator": 0.5})
        logger.image(step + 1, "generated", GREY)
        logger.close()
    assert random.getstate() == before  # Training draws from these.
    kept = sorted((tmp_path / "r" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert {path.name for path in kept} == {f"run-{kept_id(tmp_path / 'r' / 'wandb' / 'id.txt')}.wandb"}
    until = time.monotonic() + PATIENCE  # Its own process writes on for a moment.
    while not all(b"loss/generator" in path.read_bytes() for path in kept):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert list((tmp_path / "r" / "wandb").glob("offline-run-*/files/media/images/generated_*.png"))


def test_the_real_mlflow_keeps_a_run_in_its_folder(monkeypatch, tmp_path, capfd):
    for package in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(package, reason="needs ganzoo[mlflow]")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for begins, step in ((0, 1), (0, 1), (1, 2)):
        logger = MLflow(tmp_path, begins)
        logger.scalars(step, {"loss/generator": 0.5 * step, "score/D(x)": 0.25})
        logger.image(step, "generated", GREY)
        logger.close()
    with sqlite3.connect(tmp_path / "mlflow" / "mlflow.db") as base:
        rows = sorted(base.execute("select key, step, value from metrics").fetchall())
        assert [status for (status,) in base.execute("select status from runs")] == ["FAILED"]
    base.close()
    assert rows == [
        ("loss/generator", 1, 0.5), ("loss/generator", 2, 1.0), ("score/D_x", 1, 0.25), ("score/D_x", 2, 0.25),
    ]  # fmt: skip
    assert len(list((tmp_path / "mlflow" / "artifacts").glob("*/artifacts/generated/*.png"))) == 2
    assert capfd.readouterr().err == ""


# What all loggers share


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("generator_loss", "loss/generator"),
        ("D(G(z)) after", "score/D(G(z)) after"),
        ("r_v", "score/r_v"),
        ("wait", "speed/wait"),
        ("gradient_penalty", "term/gradient_penalty"),
        ("ada/p", "ada/p"),
        ("fid/mnist-test-10000", "fid/mnist-test-10000"),
    ],
)
def test_names_are_grouped(name, group):
    assert grouped(name) == group


@pytest.mark.parametrize(
    ("name", "taken"),
    [("score/D(x)", "score/D_x"), ("score/D(G(z)) after", "score/D_G_z after"), ("fid/a-b.c/d", "fid/a-b.c/d")],
)
def test_names_are_written_as_mlflow_takes_them(name, taken):
    assert plain_name(name) == taken


@pytest.mark.parametrize("text", ["", "../../etc", "abc", "0" * 99, "zz" * 8, "\x00" * 8])
def test_an_id_that_is_none_is_not_believed(tmp_path, text):
    (tmp_path / "id.txt").write_text(text)
    assert kept_id(tmp_path / "id.txt") is None
    assert kept_id(tmp_path / "absent.txt") is None
    (tmp_path / "id.txt").write_text("0123456789abcdef\n")
    assert kept_id(tmp_path / "id.txt") == "0123456789abcdef"
    os.mkfifo(tmp_path / "pipe")
    assert kept_id(tmp_path / "pipe") is None  # A pipe would be waited for for ever.


def test_what_a_stranger_wrote_into_a_run_is_told_plainly(tmp_path: Path):
    (tmp_path / "run.json").write_text(json.dumps({"model": "m", "name": "a\x1b[31m", "tags": 3, "settings": []}))
    (tmp_path / "status.json").write_text(json.dumps({"status": []}))
    assert about(tmp_path).name == "a\ufffd[31m"
    assert about(tmp_path).config == {"model": "m"}
    assert ended(tmp_path) == "failed"
