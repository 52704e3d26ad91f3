"""hardpoint's pytest plugin: a fixture called `plugin`, with which the tests of a plugin take three lines.

    def test_greets(plugin):
        assert plugin.greet("World") == "Hello, World!"

`pytest --plugin=greeter.so` says which file it is, or `hardpoint_plugin` in pytest's settings, relative to the rootdir.
(With a blank in place of the =, pytest takes the file for one of tests as well, while it looks for its settings.)

pytest imports this in every environment that has hardpoint, whatever its tests are about, and compiles what it imports
anew, for its asserts. So it stands beside the package and not in it: a bare run took 0.66 s, and 0.85 s with the package.
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
    # By keyword alone: a class as the only argument is what pytest takes for the class that is marked.
    "hardpoint(*, contract=None, config=None, binding=None, sha256=None, isolated=False): how the fixture `plugin` is "
    "loaded, with the arguments of hardpoint.load behind the path"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, and what they are called in pytest's settings."""
    group = parser.getgroup("hardpoint", "native plugins")
    group.addoption("--plugin", metavar="FILE", help="The library that the fixture `plugin` is loaded from")
    group.addoption(
        "--plugin-contract",
        metavar="MODULE:CLASS",
        help="The contract of the fixture `plugin`; by default the one that the library's manifest describes",
    )
    parser.addini("hardpoint_plugin", "What --plugin is by default, relative to the rootdir")
    parser.addini("hardpoint_contract", "What --plugin-contract is by default")


def pytest_configure(config: pytest.Config) -> None:
    """The marker, so that --strict-markers knows it."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def plugin(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The plugin of `--plugin=FILE`: a fresh instance for each test, closed after it. See also the marker `hardpoint`."""
    from hardpoint.errors import HardpointError
    from hardpoint.loading import close

    try:
        loaded, refused = _load(request), ""
    except (HardpointError, TypeError, ValueError) as error:
        loaded, refused = None, str(error)
    if refused:  # outside of `except`: the message says it all, and a traceback would only hide it
        pytest.fail(refused, pytrace=False)
    yield loaded
    close(loaded)


def _load(request: pytest.FixtureRequest) -> Any:
    from hardpoint.loading import load_contract

    options = _options(request.node)
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
    """The marker's arguments; of several markers the nearest to the test has the last word on each argument."""
    options: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers("hardpoint"))):
        if marker.args or not marker.kwargs.keys() <= _ARGUMENTS:
            raise TypeError(f"the marker takes other arguments: {_MARKER}")
        options |= marker.kwargs
    return options


def _contract(config: pytest.Config, path: str, cls: object) -> Contract:
    """The contract of the marker, of the option or of the settings, or the only one that the library is for."""
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
