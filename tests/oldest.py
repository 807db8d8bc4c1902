"""The oldest versions that pyproject.toml allows of what the suite needs, one a line, for pip: `make test-oldest`."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
EXTRAS = ("hub", "onnx", "parquet", "sweep", "video", "dev")
"""Of which the suite needs something; what makes the site is as new as it comes."""
for line in [*project["dependencies"], *(line for name in EXTRAS for line in extras[name])]:
    if found := re.fullmatch(r"([A-Za-z0-9._-]+)>=([0-9.]+)", line):
        dots = found[2].count(".")
        print(f"{found[1]}=={found[2]}{('.0.*', '.*', '')[dots]}")
