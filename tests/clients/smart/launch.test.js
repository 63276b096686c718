// SMART JS (npm fhirclient) in a real Chromium against a running server, from the launch to the patient's record.
// Run by test_smart_launch.py, which starts the server and says in the environment who and what is there.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const env = process.env;
const APP = `http://127.0.0.1:${env.APP_PORT}`;
const FILES = {
  "/launch.html": new URL("app/launch.html", import.meta.url),
  "/index.html": new URL("app/index.html", import.meta.url),
  "/fhir-client.js": new URL("node_modules/fhirclient/build/fhir-client.pure.min.js", import.meta.url),
};
let browser;
let server;

before(async () => {
  server = createServer(async (request, response) => {
    const file = FILES[new URL(request.url, APP).pathname];
    response.setHeader("Content-Type", request.url.includes(".js") ? "text/javascript" : "text/html");
    response.statusCode = file ? 200 : 404;
    response.end(file ? await readFile(file) : "");
  }).listen(Number(env.APP_PORT), "127.0.0.1");
  browser = await chromium.launch({
    executablePath: env.CHROMIUM,
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
  });
});

after(async () => {
  await browser?.close();
  server?.close();
});

async function open(url) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const violations = [];
  page.on("console", (message) => {
    if (/content security policy/i.test(message.text())) violations.push(message.text());
  });
  await page.goto(url);
  return { page, violations, close: () => context.close() };
}

async function logIn(page, name) {
  await page.getByLabel("Login name").fill(name);
  await page.getByLabel("Password").fill(env.PASSWORD);
  await page.getByRole("button", { name: "Continue" }).click();
}

async function result(page) {
  await page.waitForURL(`${APP}/index.html*`);
  await page.waitForFunction(() => window.result !== undefined);
  return page.evaluate(() => window.result);
}

function launchUrl(parameters) {
  return `${APP}/launch.html?${new URLSearchParams({ client: env.CLIENT, ...parameters })}`;
}

test("a clinician launches an app standalone, chooses a patient and allows a part", async () => {
  const scope = "launch/patient openid fhirUser offline_access patient/Patient.rs patient/Observation.rs";
  const { page, violations, close } = await open(launchUrl({ standalone: env.FHIR_BASE_URL, scope }));
  await logIn(page, env.CLINICIAN);
  await page.getByLabel("Name, birth date").fill("Shaw");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByRole("button", { name: "Amy Shaw" }).click();
  await page.getByRole("heading", { name: "Do you want to give Growth chart access?" }).waitFor();
  if (env.SCREENSHOTS) await page.screenshot({ path: `${env.SCREENSHOTS}/consent.png`, fullPage: true });
  await page.getByLabel(/lab results/).uncheck();
  await page.getByRole("button", { name: "Allow", exact: true }).click();
  const found = await result(page);
  assert.equal(found.error, undefined);
  assert.equal(found.patient.id, env.PATIENT);
  assert.deepEqual(found.visible, [env.PATIENT]);
  assert.equal(found.fhirUser, "Practitioner/ada");
  assert.equal(found.refreshed, true);
  assert.equal(found.again, env.PATIENT);
  assert.equal(found.tokenResponse.scope, "launch/patient openid fhirUser offline_access patient/Patient.rs");
  assert.deepEqual(violations, []);
  await close();
});

test("an EHR launches the app for the patient that is open in it", async () => {
  const scope = "launch openid fhirUser patient/*.rs";
  const url = `${env.EHR_LAUNCH_URL}&${new URLSearchParams({ client: env.CLIENT, scope })}`;
  const { page, violations, close } = await open(url);
  await logIn(page, env.CLINICIAN);
  await page.getByRole("button", { name: "Allow", exact: true }).click();
  const found = await result(page);
  assert.equal(found.error, undefined);
  assert.equal(found.patient.id, env.PATIENT);
  assert.deepEqual(found.visible, [env.PATIENT]);
  assert.equal(found.tokenResponse.refresh_token, undefined);
  assert.deepEqual(violations, []);
  await close();
});

test("a patient who does not allow it comes back to the app with an error", async () => {
  const scope = "launch/patient patient/*.rs";
  const { page, close } = await open(launchUrl({ standalone: env.FHIR_BASE_URL, scope }));
  await logIn(page, env.PATIENT_USER);
  await page.getByText("your own record").waitFor();
  await page.getByRole("button", { name: "Do not allow" }).click();
  const found = await result(page);
  assert.match(found.error, /denied/);
  await close();
});

test("a patient allows everything but one kind of information", async () => {
  const scope = "launch/patient offline_access patient/*.rs";
  const { page, violations, close } = await open(launchUrl({ standalone: env.FHIR_BASE_URL, scope }));
  await logIn(page, env.PATIENT_USER);
  const observations = page.getByLabel("Lab results, vital signs and other measurements");
  assert.equal(await observations.isVisible(), false);
  await page.getByText("Choose what exactly").click();
  if (env.SCREENSHOTS) await page.screenshot({ path: `${env.SCREENSHOTS}/parts.png`, fullPage: true });
  await page.getByLabel("See everything in the record").uncheck();
  assert.equal(await observations.isVisible(), false);
  await page.getByLabel("See everything in the record").check();
  await observations.uncheck();
  await page.getByRole("button", { name: "Allow", exact: true }).click();
  const found = await result(page);
  assert.equal(found.error, undefined);
  assert.equal(found.patient.id, env.PATIENT);
  const scopes = found.tokenResponse.scope.split(" ");
  assert.ok(scopes.includes("patient/Patient.rs") && scopes.includes("patient/Flag.rs"));
  assert.ok(!scopes.includes("patient/*.rs") && !scopes.includes("patient/Observation.rs"));
  assert.deepEqual(violations, []);
  await close();
});

test("the pages can be used by keyboard, and no script runs on them", async () => {
  const scope = "launch/patient patient/*.rs";
  const { page, close } = await open(launchUrl({ standalone: env.FHIR_BASE_URL, scope }));
  if (env.SCREENSHOTS) await page.screenshot({ path: `${env.SCREENSHOTS}/login.png`, fullPage: true });
  await page.waitForFunction(() => document.activeElement.id === "name");
  await page.keyboard.type(env.PATIENT_USER);
  await page.keyboard.press("Tab");
  await page.keyboard.type(env.PASSWORD);
  await page.keyboard.press("Enter");
  await page.getByText("your own record").waitFor();
  assert.equal(await page.locator("script").count(), 0);
  await page.getByRole("button", { name: "Allow", exact: true }).focus();
  await page.keyboard.press("Enter");
  assert.equal((await result(page)).patient.id, env.PATIENT);
  await close();
});
