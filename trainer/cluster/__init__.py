"""The training loop on many processes and machines, launched by Ray.

`launcher` (one run on a worker group that may grow, shrink and lose members), `tune` (a search over the
few dials that matter), `group` (the loop's context over torch.distributed, without Ray). Nothing outside
this package imports Ray, and here it is imported inside functions: `eg-train fit` runs without it.
"""
