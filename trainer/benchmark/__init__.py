"""The benchmark of measured patterns: what the product answers, beside what needs no pattern at all.

`data` reads a folder, `predictors` wires the product to small callables, `running` calls them, `nulls`
makes the rows that a model has to beat, `classification` and `indexing` score, `report` prints.
"""

from __future__ import annotations

from trainer.benchmark.data import Case, Folder
from trainer.benchmark.running import Answer, Predictions, Predictor, predict

__all__ = ["Answer", "Case", "Folder", "Predictions", "Predictor", "predict"]
