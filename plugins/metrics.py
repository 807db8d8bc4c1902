"""The metrics that ship with ganzoo."""

import ganzoo
from ganzoo.metrics.cas import CAS
from ganzoo.metrics.distances import FID, KID, Inception, IntraFID
from ganzoo.metrics.labels import Accuracy, Clustering, Recognition
from ganzoo.metrics.modes import ModeCoverage
from ganzoo.metrics.neighbours import PRDC, Nearest
from ganzoo.metrics.pairs import L1, LPIPS, PSNR, SSIM, Cycle, MultiScaleSSIM
from ganzoo.metrics.parzen import Parzen
from ganzoo.metrics.tags import TagPrecision

METRICS = (
    FID,
    KID,
    Inception,
    IntraFID,
    Accuracy,
    Recognition,
    Clustering,
    PSNR,
    SSIM,
    MultiScaleSSIM,
    L1,
    LPIPS,
    Cycle,
    PRDC,
    Nearest,
    ModeCoverage,
    TagPrecision,
    CAS,
    Parzen,
)


@ganzoo.hookimpl
def register_metrics(register):
    for metric in METRICS:
        register(metric)
