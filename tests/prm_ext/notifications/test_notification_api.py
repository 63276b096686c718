"""docs/prm/notifications.md: sending, over HTTP and to its end."""

from tests.prm_ext.notifications.api_world import BASE, PHONE, World


async def test_a_message_is_accepted_queued_and_sent(world: World) -> None:
    patient = await world.patient()
    answer = await world.post(
        "/send", {"patient_id": patient, "channel": "sms", "body": "Please call us.", "metadata": {"a": [1]}}
    )
    assert answer.status_code == 201, answer.text
    queued = answer.json()
    assert answer.headers["Location"] == f"{BASE}/{queued['id']}"
    assert (queued["status"], queued["channel"], queued["patient_id"], queued["org_id"]) == (
        "queued",
        "sms",
        patient,
        world.pipeline.tenant,
    )
    await world.pipeline.run()
    found = await world.read(queued["id"])
    assert (found["status"], found["to"], found["body"]) == ("delivered", PHONE, "Please call us.")
    assert (found["metadata"], found["provider"], found["attempts"]) == ({"a": [1]}, "console", 1)
    assert [one["event"] for one in found["timeline"]][:2] == ["created", "attempt"]
    assert found["provider_message_id"] == found["communication_id"]
    request = await world.pipeline.read("CommunicationRequest", queued["id"])
    assert request["status"] == "completed"
