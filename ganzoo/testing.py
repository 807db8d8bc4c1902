"""The conformance kit, as a plugin's own test imports it: `check_gan(MyGAN)`. It lives in `ganzoo.kit`."""

from ganzoo.kit.examine import SPECS, Broken, Verdict, check_gan, examine

__all__ = ["SPECS", "Broken", "Verdict", "check_gan", "examine"]
