"""What SNS wants fetched: certificates of its signatures, and the confirmation of a subscription.

https://docs.aws.amazon.com/sns/latest/dg/sns-http-https-endpoint-as-subscriber.html
"""

from typing import Final

import httpx

from fhir_server.security.outgoing import PinnedTransport
from prm_ext.notifications.channels.sns import check_url

LARGEST: Final = 65_536
_SECONDS: Final = 10.0


async def fetched(url: str) -> bytes:
    """Return what is at a URL of SNS.

    Raises:
        OSError: it can not be had.
        ValueError: the URL leads elsewhere, or it is too large.
    """
    check_url(url)
    try:
        async with (
            httpx.AsyncClient(transport=PinnedTransport(), timeout=_SECONDS, follow_redirects=False, trust_env=False) as client,
            client.stream("GET", url) as answer,
        ):
            answer.raise_for_status()
            found = b""
            async for part in answer.aiter_bytes():
                found += part
                if len(found) > LARGEST:
                    raise ValueError("the answer is too large")
            return found
    except httpx.HTTPError as error:
        raise OSError(type(error).__name__) from None
