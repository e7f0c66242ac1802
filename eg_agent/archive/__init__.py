"""Identify everything that a Tiled holds, on the cores of a Ray cluster, and go on where it was stopped.

`archive` (the driver: who gets which runs, and what is written), `actor` (a Ray actor that reads and
identifies), `table` (the result on disk, one row a run). Ray is imported where it is used.
"""
