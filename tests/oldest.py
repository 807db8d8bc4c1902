"""The oldest versions that pyproject.toml allows of what the suite needs, one a line, for pip: `make test-oldest`."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
for line in [*project["dependencies"], *extras["onnx"], *extras["parquet"], *extras["dev"]]:
    if found := re.fullmatch(r"([A-Za-z0-9._-]+)>=([0-9.]+)", line):
        print(f"{found[1]}=={found[2]}{'.*' if found[2].count('.') < 2 else ''}")
