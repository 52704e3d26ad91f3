"""The contracts that ship with hardpoint; this folder also holds their C headers and hardpoint.h."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .greeter import Greeter
    from .transformer import Transformer
else:

    def __getattr__(name: str) -> object:
        """Import a contract at first use: 0.2 ms each, and a host uses one or two."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = __import__(f"{__name__}.{name.lower()}", fromlist=[name])
        return globals().setdefault(name, getattr(module, name))


__all__ = ["Greeter", "Transformer"]
