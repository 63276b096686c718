import pytest

from fhir_server.doctor import Finding, examine, examine_settings, examine_topology, examine_version


async def by_subject(settings):
    """Return the findings by what they are about."""
    return {finding.subject: finding async for finding in examine(settings)}


@pytest.mark.parametrize(
    ("version", "ok"),
    [("4.4.29", False), ("5.0.0", False), ("6.0.5", True), ("7.0.1", True), ("8.2.0-rc1", True), ("9.0.0", False)],
)
def test_versions_from_6_to_8_are_in_order(version, ok):
    assert examine_version(version).ok is ok


@pytest.mark.parametrize(
    ("hello", "ok", "found"),
    [
        ({"msg": "isdbgrid"}, True, "sharded cluster"),
        ({"setName": "rs0", "isWritablePrimary": True, "me": "db1:27017"}, True, "replica set rs0, primary db1:27017"),
        ({"setName": "rs0", "isWritablePrimary": False}, False, "replica set rs0 without a primary in reach"),
        ({"isWritablePrimary": True}, False, "a single server, no replica set"),
    ],
)
def test_a_primary_of_a_replica_set_or_a_router_is_needed(hello, ok, found):
    finding = examine_topology(hello)
    assert (finding.ok, finding.found) == (ok, found)


def test_an_open_door_and_links_from_requests_behind_a_proxy_are_pointed_out(settings):
    assert [finding.ok for finding in examine_settings(settings)] == [True, True]
    open_ = settings.model_copy(update={"allow_unauthenticated": True, "trusted_proxies": "10.0.0.1"})
    assert [finding.ok for finding in examine_settings(open_)] == [False, False]


async def test_a_missing_index_is_named_with_the_command_that_makes_it(settings, client):
    alone = settings.model_copy(update={"mongodb_database": "fhir_test_doctor"})
    database = client[alone.mongodb_database]
    await database.Substance.insert_one({"_id": 1})
    try:
        finding = (await by_subject(alone))["Indexes of Substance"]
        assert not finding.ok
        assert finding.mend.startswith("Run `fhir-server reindex --type Substance`")
    finally:
        await client.drop_database(alone.mongodb_database)


async def test_an_interrupted_reindexing_is_pointed_out(settings, client):
    alone = settings.model_copy(update={"mongodb_database": "fhir_test_doctor_too"})
    await client[alone.mongodb_database]["_reindex"].insert_one({"_id": "Patient", "after": "x"})
    try:
        assert (await by_subject(alone))["Reindexing"] == Finding(
            "Reindexing", ok=False, found="interrupted at Patient", mend="Run `fhir-server reindex` to finish it."
        )
    finally:
        await client.drop_database(alone.mongodb_database)


async def test_an_authorization_server_without_users_is_pointed_out(settings, client, tenant):
    alone = settings.model_copy(update={"mongodb_database": f"fhir_test_{tenant}", "auth": "builtin"})
    users = client[alone.mongodb_database]["_auth_users"]
    try:
        for active, ok in ((False, False), (True, True)):
            await users.replace_one({"_id": "ada"}, {"active": active}, upsert=True)
            assert (await by_subject(alone))["Users"].ok is ok
        assert "Users" not in await by_subject(alone.model_copy(update={"auth": "off"}))
    finally:
        await client.drop_database(alone.mongodb_database)
