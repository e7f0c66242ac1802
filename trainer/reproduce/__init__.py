"""The paper's tables (arXiv:2604.23811) beside ours, at a budget that a desk has.

`plan` lists the runs and the tables, `running` makes the runs one by one and keeps what each answered,
`tables` reads these and prints. A run that is finished is never made again.
"""

from __future__ import annotations
