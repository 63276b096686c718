"""Requests of this server lead nowhere they should not."""

import asyncio

import httpx
import pytest

from fhir_server.config import Settings
from fhir_server.events.webhook import webhooks
from fhir_server.security.outgoing import PinnedTransport


class Names:
    """Resolves every name to the next of some lists of addresses."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return the next list."""
        self.asked.append((host, port))
        return self.answers.pop(0)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["192.168.0.1"],
        ["100.64.0.1"],
        ["::1"],
        ["fd00::1"],
        ["::ffff:127.0.0.1"],
        ["93.184.215.14", "127.0.0.1"],
        ["0.0.0.0"],
        [],
    ],
)
async def test_addresses_that_are_not_public_are_refused(addresses: list[str]) -> None:
    """One such address among several is enough."""
    async with httpx.AsyncClient(transport=PinnedTransport(resolve=Names(addresses))) as client:
        with pytest.raises(httpx.ConnectError, match="not public"):
            await client.post("https://hook.example.org/", content=b"x")


async def test_the_connection_goes_to_the_address_that_was_looked_at() -> None:
    """The name is resolved once, and stays in the header Host."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    names = Names(["127.0.0.1"])
    async with server, httpx.AsyncClient(transport=PinnedTransport(private=True, resolve=names)) as client:
        assert (await client.get(f"http://hook.example.org:{port}/a")).status_code == 204
    assert names.asked == [("hook.example.org", port)]
    assert f"Host: hook.example.org:{port}\r\n".encode() in heads[0]


async def test_webhooks_do_not_lead_into_the_own_network(settings: Settings) -> None:
    """A webhook to this machine is refused unless the setting allows it."""
    from tests.events.test_webhook import EVENT  # noqa: PLC0415 -- an event like any other

    (sink,) = webhooks(settings.model_copy(update={"webhook_urls": "http://localhost:9/hook", "webhook_secret": "s"}), None)
    with pytest.raises(httpx.ConnectError, match="localhost has an address that is not public"):
        await sink.deliver([EVENT])
    await sink.close()
    allowed = {"webhook_urls": "http://localhost:9/hook", "webhook_secret": "s", "webhook_private": True}
    (sink,) = webhooks(settings.model_copy(update=allowed), None)
    with pytest.raises(httpx.ConnectError, match=r"connection attempts failed|Connection refused"):
        await sink.deliver([EVENT])
    await sink.close()


def test_settings_that_are_secrets_are_in_no_representation() -> None:
    """Whoever logs the settings, or an error that quotes them, tells no secret."""
    names = [name for name in Settings.model_fields if name.rpartition("_")[2] in ("secret", "key", "token", "previous")]
    names += ["master_keys_previous", "redis_url", "mongodb_uri"]
    assert {"master_key", "webhook_secret", "s3_secret_key", "auth_introspection_secret", "auth_registration_token"} <= set(names)
    given = Settings.model_construct(**dict.fromkeys(names, "zqxsecret"))
    assert "zqxsecret" not in repr(given).replace("s3_access_key='zqxsecret'", "").replace("s3_kms_key='zqxsecret'", "")
