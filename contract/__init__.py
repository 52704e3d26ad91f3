"""The contracts that ship with hardpoint; this folder also holds their C headers and hardpoint.h."""

from .greeter import Greeter
from .transformer import Transformer

__all__ = ["Greeter", "Transformer"]
