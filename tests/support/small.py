"""`ganzoo data inspect` of each file that is named, in a process that gets at most 1 GiB more than it has.

It prints a line of JSON for each: file, exit code, errors.
"""

import contextlib
import io
import json
import resource
import sys
from importlib import import_module
from pathlib import Path

import torch

from ganzoo.cli import main
from ganzoo.commands import data  # noqa: F401  What is loaded before the limit is set is not counted.
from ganzoo.plugins import registry

torch.set_num_threads(1)
registry().check().get("datasets", "folder")
for module in ("archives", "arrays", "parquet"):
    import_module(f"ganzoo.data.{module}").memory = lambda: 2**30
with contextlib.suppress(ImportError):
    import_module("pyarrow.parquet")
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for name in sys.argv[1:]:
    sys.argv[:] = ["ganzoo", "data", "inspect", name]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([name, code, err.getvalue()]), flush=True)
