"""`ganzoo` in one of several processes, of which the second fails at step 43.

torchrun ... unequal.py ganzoo-arguments...
"""

import os
import sys
from itertools import count

from ganzoo_test_plugins import Tiny

if os.environ["RANK"] == "1":
    real, steps = Tiny.generator_loss, count(1)

    def generator_loss(self, *batches):
        if next(steps) == 43:
            raise ZeroDivisionError("boom")
        return real(self, *batches)

    Tiny.generator_loss = generator_loss
sys.argv[:] = ["ganzoo", *sys.argv[1:]]

from ganzoo.cli import main  # noqa: E402

main()
