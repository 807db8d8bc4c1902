"""In Jupyter's kernel: the notebook of the docs runs, and an interrupted training is saved and goes on."""

import time
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from conftest import PATIENCE

NOTEBOOK = Path(__file__).parent.parent / "docs" / "python.ipynb"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # Jupyter's own.


def test_the_notebook_of_the_docs_runs(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert len(notebook.cells) == 10
    for cell in notebook.cells:
        cell.source = cell.source.replace('"1m"', '"1s"').replace("10_000", "500")
    notebook.cells[1].source += "\nfrom ganzoo.runs import measuring\nmeasuring.MEASURED = 500"
    NotebookClient(
        notebook, timeout=PATIENCE, startup_timeout=PATIENCE, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert "my-gan on mnist, finished" in shown[0]["text/plain"]
    assert "image/png" in shown[1]
    assert "fid" in shown[3]["text/plain"]
    assert "my-gan" in shown[4]["text/plain"]
    assert shown[4]["text/html"].startswith("<iframe")


TRAIN = """
import ganzoo
options = dict(dataset="small-digits", batch_size=32, loggers=(), progress=False, engine="eager")
run = ganzoo.train("tiny", out="a", steps=10**6, **options)
"""
RESUME = """
step = ganzoo.TrainedRun("a").status["step"]
again = ganzoo.resume("a", steps=step + 10, progress=False)
whole = ganzoo.train("tiny", out="b", steps=step + 10, **options)
print(sum(abs(again.sample(4) - whole.sample(4)).flatten()).item(), again.status["step"] - step)
"""


def test_an_interrupt_of_the_kernel_saves_the_run_and_leaves_the_kernel_alive(tmp_path):
    manager, client = start_new_kernel(PATIENCE, cwd=str(tmp_path))
    try:
        message = client.execute(TRAIN, stop_on_error=False)  # Else the kernel aborts what it is asked right after.
        while not (tmp_path / "a" / "metrics.jsonl").exists():
            time.sleep(0.05)
        manager.interrupt_kernel()
        # A late answer to the client's first question, whether the kernel lives, may come before.
        while (reply := client.get_shell_msg(timeout=PATIENCE))["parent_header"]["msg_id"] != message:
            pass
        assert (reply["content"]["status"], reply["content"]["ename"]) == ("error", "KeyboardInterrupt")
        assert "is saved: ganzoo.resume('a') goes on from there" in reply["content"]["evalue"]
        printed = []
        reply = client.execute_interactive(
            RESUME, timeout=PATIENCE, output_hook=lambda m: printed.append(m["content"].get("text", ""))
        )
        assert reply["content"]["status"] == "ok", reply["content"]
        assert "".join(printed).split() == ["0.0", "10"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
