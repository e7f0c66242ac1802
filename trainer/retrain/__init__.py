"""Retraining on what was verified at the beamline: the next checkpoint, judged against the one in use.

`verified` (which runs, and what they are), `compounds` (which of them are the same compound, and which are in
the benchmark), `recent` (their patterns, split by compound), `focus` (a simulator set to the instruments that
were seen), `bundle` (one file that a run trains on, anywhere), `judge` and `gates` (challenger against
champion), `rounds` (one after the other, resumable). `eg-train retrain` and `eg-train promote`.
"""
