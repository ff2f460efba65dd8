"""One network on many processes, its ranks: what they send each other, and the rows that each of them has."""

from xbackprop.distributed.communicator import Communicator
from xbackprop.distributed.simulator import simulate

__all__ = ["Communicator", "simulate"]
