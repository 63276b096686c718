"""What `fhir-server doctor` says of media."""

import uuid
from pathlib import Path

import boto3
from botocore.config import Config

from fhir_server.blobs.examining import examine_media
from fhir_server.config import Settings
from tests.conftest import s3_settings
from tests.media_servers import ACCESS_KEY, SECRET_KEY


async def found(settings: Settings) -> dict[str, tuple[bool, str]]:
    return {seen.subject.split()[0]: (seen.ok, seen.found) async for seen in examine_media(settings)}


def client_of_store(endpoint: str):
    config = Config(s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config, **keys)


async def test_a_private_bucket_is_in_order_and_a_public_one_is_not(settings: Settings, s3_endpoint: str) -> None:
    assert (await found(s3_settings(settings, s3_endpoint)))["Bucket"] == (True, "is private")
    store, name = client_of_store(s3_endpoint), f"public-{uuid.uuid4().hex[:8]}"
    store.create_bucket(Bucket=name)
    store.put_bucket_acl(Bucket=name, ACL="public-read")
    public = s3_settings(settings, s3_endpoint).model_copy(update={"s3_bucket": name})
    ok, text = (await found(public))["Bucket"]
    assert (ok, text) == (False, "is open to the public: its access control list grants READ to AllUsers")
    store.delete_bucket(Bucket=name)
    store.close()


async def test_a_bucket_that_is_not_there_and_a_store_that_is_away(settings: Settings, s3_endpoint: str) -> None:
    missing = s3_settings(settings, s3_endpoint).model_copy(update={"s3_bucket": "nothing-here"})
    assert not (await found(missing))["Bucket"][0]
    assert not (await found(s3_settings(settings, "http://127.0.0.1:1")))["Bucket"][0]


async def test_whether_the_scanner_answers(settings: Settings, clamd: str, tmp_path: Path) -> None:
    assert (await found(settings.model_copy(update={"clamd": clamd})))["ClamAV"] == (True, f"{clamd} answers")
    away = await found(settings.model_copy(update={"clamd": str(tmp_path / "nobody")}))
    assert away["ClamAV"] == (False, f"{tmp_path / 'nobody'} does not answer (FileNotFoundError)")
    assert "ClamAV" not in await found(settings)


async def test_the_library_that_knows_types_is_there(settings: Settings) -> None:
    assert (await found(settings))["libmagic"] == (True, "is installed")
