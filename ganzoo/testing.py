"""The conformance kit, as a plugin's own test imports it: `check_gan(MyGAN)`, and `check_ingredient(MyAugmentation)`,
which takes regularisers too. It lives in `ganzoo.kit`."""

from ganzoo.kit.examine import SPECS, Broken, Verdict, check_gan, check_ingredient, examine, examine_ingredient

__all__ = ["SPECS", "Broken", "Verdict", "check_gan", "check_ingredient", "examine", "examine_ingredient"]
