"""Measurements: what they are made of (`base`), the metrics themselves, the reference, the evaluation."""
