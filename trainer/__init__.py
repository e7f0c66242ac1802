"""Make, judge and export checkpoints: `eg-train`.

`fit` (from a corpus to a checkpoint), `loop` (the training loop), `calibrate` (temperature, fusion and
prior), `metrics` and `benchmark` (figures on measured patterns). The core runs in one process without Ray.
"""
