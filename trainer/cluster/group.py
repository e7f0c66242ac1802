"""The loop's view of a torch.distributed process group: gradients averaged, rank 0's word counts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

#: How long a rank waits for another one. Rank 0 evaluates and saves while the others wait.
PATIENCE = timedelta(minutes=30)


class GroupContext:
    """Rank, world and device of this process in the group that is initialised; half of a `Context`.

    Small agreements go through gloo on the CPU, also when gradients go through nccl, so that they
    never wait for the GPU's queue.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self._talk: Any = dist.new_group(backend="gloo", timeout=PATIENCE)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over ranks in `backward` (DDP).

        On GPUs batch norms see the whole batch (SyncBatchNorm). torch has none for CPUs: there each rank
        normalises by its own part of the batch, and rank 0's running statistics are kept.
        """
        if self.world == 1:
            return network
        if self.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
            return DistributedDataParallel(network, device_ids=[self.device])
        return DistributedDataParallel(network)

    def agree(self, value: float) -> float:
        """Rank 0's value, on every rank."""
        if self.world == 1:
            return value
        said = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(said, src=0, group=self._talk)
        return float(said)

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world > 1:
            dist.barrier(group=self._talk)
