"""Commands that extensions add."""

import pytest
import typer

from fhir_server.config import Settings
from fhir_server.extension import ExtensionError, Server


def test_a_group_of_commands_has_a_name_of_its_own(settings: Settings) -> None:
    """Two extensions can not have the same."""
    server = Server(settings)
    server.add_commands("lab", typer.Typer)
    with pytest.raises(ExtensionError, match="commands 'lab' already"):
        server.add_commands("lab", typer.Typer)
    assert isinstance(server.extensions().commands["lab"].app(), typer.Typer)
