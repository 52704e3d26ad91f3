"""hardpoint's plugin for pytest: the fixture `plugin`, with which a test of a plugin takes two lines.

    def test_greets(plugin):
        assert plugin.greet("World") == "Hello, World!"

`pytest --plugin=greeter.so` names the file, or `hardpoint_plugin` in pytest's settings, relative to the rootdir.
(`--plugin greeter.so`, without =, would make pytest take the file for a test file while it looks for its settings.)

pytest imports this module in every environment that has hardpoint, and recompiles each plugin's package to rewrite
asserts. So it is a module beside the package: a bare run of pytest took 0.66 s, and 0.85 s if it was in the package.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hardpoint.definition.model import Contract

_HOW = (
    "run pytest --plugin=FILE, or set hardpoint_plugin = FILE in pytest's settings, such as [tool.pytest.ini_options] "
    "of pyproject.toml"
)
_ARGUMENTS = {"contract", "config", "binding", "sha256", "isolated"}
_MARKER = (
    # Keywords only: pytest takes a class as the only positional argument for the class that is marked.
    "hardpoint(*, contract=None, config=None, binding=None, sha256=None, isolated=False): arguments of hardpoint.load "
    "for the fixture `plugin`"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and settings."""
    group = parser.getgroup("hardpoint", "native plugins")
    group.addoption("--plugin", metavar="FILE", help="The library that the fixture `plugin` is loaded from")
    group.addoption(
        "--plugin-contract",
        metavar="MODULE:CLASS",
        help="The contract of the fixture `plugin`; by default the one that the library's manifest describes",
    )
    parser.addini("hardpoint_plugin", "The default of --plugin, relative to the rootdir")
    parser.addini("hardpoint_contract", "The default of --plugin-contract")
    parser.addini(
        "hardpoint_isolated",
        "Run the plugin in a process of its own, so that a crash fails one test (marker: isolated=)",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, for --strict-markers."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def plugin(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The plugin of `--plugin=FILE`: a new instance for each test, closed after it. See the marker `hardpoint`."""
    from hardpoint.errors import HardpointError
    from hardpoint.loading import close

    try:
        loaded, refused = _load(request), ""
    except (HardpointError, TypeError, ValueError) as error:
        loaded, refused = None, str(error)
    if refused:  # outside of `except`: the message is enough, and a traceback would only hide it
        pytest.fail(refused, pytrace=False)
    yield loaded
    close(loaded)


def _load(request: pytest.FixtureRequest) -> Any:
    from hardpoint.loading import load_contract

    options = _options(request.node)
    if "binding" not in options:  # a binding is chosen for calls in this process
        options.setdefault("isolated", request.config.getini("hardpoint_isolated"))
    path = _path(request.config)
    contract = _contract(request.config, path, options.pop("contract", None))
    return load_contract(path, contract, **options)


def _path(config: pytest.Config) -> str:
    if path := config.getoption("plugin"):
        return os.path.join(config.invocation_params.dir, path)
    if path := config.getini("hardpoint_plugin"):
        return os.path.join(config.rootpath, path)
    raise ValueError(f"the fixture `plugin` has no file to load; {_HOW}")


def _options(node: pytest.Item) -> dict[str, Any]:
    """The marker's arguments; each argument is taken from the marker nearest to the test."""
    options: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers("hardpoint"))):
        if marker.args or not marker.kwargs.keys() <= _ARGUMENTS:
            raise TypeError(f"wrong arguments of the marker; it takes {_MARKER}")
        options |= marker.kwargs
    return options


def _contract(config: pytest.Config, path: str, cls: object) -> Contract:
    """The contract of the marker, the option or the settings, or the only one that the library has plugins for."""
    from hardpoint.cli.arguments import contracts_in
    from hardpoint.cli.contracts import named
    from hardpoint.definition.decorators import contract_of
    from hardpoint.registry.manifest_contracts import prefer_bundled

    if cls is not None:
        return contract_of(cls)
    if text := config.getoption("plugin_contract") or config.getini("hardpoint_contract"):
        return named(text)
    contracts = prefer_bundled(contracts_in(path))
    if len(contracts) > 1:
        here = ", ".join(map(str, contracts))
        raise ValueError(f"{path} has plugins for {here}; say which with --plugin-contract=MODULE:CLASS, or a marker")
    return contracts[0]
