// npm fhir-kit-client against a running server, whose base is in FHIR_BASE_URL. Run by tests/clients/test_fhir_kit_client.py.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { Client } from "fhir-kit-client";

const client = new Client({ baseUrl: process.env.FHIR_BASE_URL });
const MRN = "https://clients.example.org/mrn";

const patient = (family = randomUUID()) => ({
  resourceType: "Patient",
  identifier: [{ system: MRN, value: randomUUID() }],
  name: [{ family, given: ["Zoë"] }],
  gender: "female",
  birthDate: "1974-12-25",
});

const create = (family) => client.create({ resourceType: "Patient", body: patient(family) });

test("the capability statement names FHIR 4.0.1", async () => {
  assert.equal((await client.capabilityStatement()).fhirVersion, "4.0.1");
});

test("create and read give the same resource", async () => {
  const made = await create();
  assert.deepEqual(await client.read({ resourceType: "Patient", id: made.id }), made);
});

test("update makes version 2, and version 1 can still be read", async () => {
  const made = await create();
  const updated = await client.update({ resourceType: "Patient", id: made.id, body: { ...made, active: true } });
  assert.equal(updated.meta.versionId, "2");
  assert.deepEqual(await client.vread({ resourceType: "Patient", id: made.id, version: "1" }), made);
});

test("a conditional update finds its patient", async () => {
  const made = await create();
  const searchParams = { identifier: `${MRN}|${made.identifier[0].value}` };
  const { id, ...body } = made;
  const updated = await client.update({ resourceType: "Patient", searchParams, body: { ...body, active: false } });
  assert.deepEqual([updated.id, updated.active], [id, false]);
});

test("a JSON Patch changes one element", async () => {
  const made = await create();
  const jsonPatch = [{ op: "replace", path: "/gender", value: "other" }];
  const patched = await client.patch({ resourceType: "Patient", id: made.id, jsonPatch });
  assert.deepEqual([patched.gender, patched.birthDate], ["other", "1974-12-25"]);
});

test("search finds by name and by identifier", async () => {
  const family = `Ñu${randomUUID()}`;
  const made = await create(family);
  for (const searchParams of [{ family }, { identifier: `${MRN}|${made.identifier[0].value}` }]) {
    const found = await client.search({ resourceType: "Patient", searchParams });
    assert.deepEqual(found.entry.map((entry) => entry.resource.id), [made.id]);
  }
});

test("search by POST finds the same", async () => {
  const made = await create();
  const searchParams = { identifier: `${MRN}|${made.identifier[0].value}` };
  const found = await client.resourceSearch({ resourceType: "Patient", searchParams, options: { postSearch: true } });
  assert.deepEqual(found.entry.map((entry) => entry.resource.id), [made.id]);
});

test("nextPage and prevPage walk the pages", async () => {
  const family = randomUUID();
  const made = (await Promise.all([1, 2, 3, 4, 5].map(() => create(family)))).map((resource) => resource.id);
  const found = [];
  let bundle = await client.search({ resourceType: "Patient", searchParams: { family, _count: "2" } });
  while (bundle) {
    found.push(...bundle.entry.map((entry) => entry.resource.id));
    bundle = await client.nextPage({ bundle });
  }
  assert.equal(found.length, 5);
  assert.deepEqual(found.toSorted(), made.toSorted());
});

test("a transaction creates linked resources", async () => {
  const url = `urn:uuid:${randomUUID()}`;
  const encounter = {
    resourceType: "Encounter",
    status: "finished",
    class: { system: "http://terminology.hl7.org/CodeSystem/v3-ActCode", code: "AMB" },
    subject: { reference: url },
  };
  const body = {
    resourceType: "Bundle",
    type: "transaction",
    entry: [
      { fullUrl: url, resource: patient(), request: { method: "POST", url: "Patient" } },
      { resource: encounter, request: { method: "POST", url: "Encounter" } },
    ],
  };
  const answer = await client.transaction({ body });
  assert.deepEqual(answer.entry.map((entry) => entry.response.status.slice(0, 3)), ["201", "201"]);
  const [id] = answer.entry[0].response.location.split("Patient/")[1].split("/");
  const found = await client.compartmentSearch({ resourceType: "Encounter", compartment: { resourceType: "Patient", id } });
  assert.equal(found.entry.length, 1);
});

test("history shows every version, the deletion too", async () => {
  const made = await create();
  await client.update({ resourceType: "Patient", id: made.id, body: { ...made, active: true } });
  await client.delete({ resourceType: "Patient", id: made.id });
  const history = await client.resourceHistory({ resourceType: "Patient", id: made.id });
  assert.deepEqual(history.entry.map((entry) => entry.request.method), ["DELETE", "PUT", "POST"]);
});

test("a deleted resource is gone", async () => {
  const made = await create();
  await client.delete({ resourceType: "Patient", id: made.id });
  await assert.rejects(client.read({ resourceType: "Patient", id: made.id }), (error) => error.response.status === 410);
});

test("$everything brings the patient", async () => {
  const made = await create();
  const bundle = await client.operation({ name: "$everything", resourceType: "Patient", id: made.id, method: "GET" });
  assert.deepEqual(bundle.entry.map((entry) => entry.resource.id), [made.id]);
});

test("a refusal carries an OperationOutcome", async () => {
  const body = { ...patient(), gender: "fmale" };
  await assert.rejects(client.create({ resourceType: "Patient", body }), (error) => {
    assert.equal(error.response.status, 400);
    assert.deepEqual(error.response.data.issue[0].expression, ["Patient.gender"]);
    return true;
  });
});
