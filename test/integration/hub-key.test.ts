/** A hub whose authority's key is in a token of SoftHSM: as users run it, with cells that enrol and link. */
import { strict as assert } from "node:assert";
import { globSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import type { FleetStatus } from "../../src/api/index.ts";
import {
  acceptCellAnswer,
  cellRequest,
  createAuthority,
  openAuthority,
  parseJoinToken,
  publicKeyOf,
  readAuthorityPin,
  spkiPin,
  verifyCertificates,
  readCertificatesPem,
  spiffeId,
  type FolderAuthority,
} from "../../src/identity/index.ts";
import { isSignedWith } from "../../src/identity/ca/signing-key.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { readRecord } from "../../src/runtime/files/index.ts";
import { openModuleKey, parseKeyReference } from "../../src/runtime/key-module/index.ts";
import { enrol } from "../../src/transport/index.ts";
import { fakePkcs11Tool } from "../support/fake-pkcs11-tool.ts";
import {
  makeTempDir,
  skerry,
  skerryJson,
  skerryText,
  takeDown,
  type HubInfo,
} from "../support/site.ts";
import { makeToken } from "../support/softhsm.ts";
import { waitFor } from "../support/wait.ts";

const timeoutMs = 60_000;
const dir = makeTempDir("hub-key");
const token = makeToken(join(dir, "hsm"));
const fake = fakePkcs11Tool(join(dir, "fake"));
const env = { ...token.env, PATH: `${fake.folder}:${process.env["PATH"]}` };
const [made, second, moved, node] = ["made", "second", "moved", "n1"].map((name) =>
  join(dir, name),
) as [string, string, string, string];
after(() => takeDown(dir, [node, made, second, moved]));

const hubArgs = (dataDir: string, ...more: string[]) => {
  const host = `127.0.68.${10 + [made, second, moved].indexOf(dataDir)}`;
  return ["hub", "--data", dataDir, "--host", host, "--detach", ...more];
};
const startHub = (dataDir: string, ...more: string[]) =>
  skerryJson<HubInfo>(hubArgs(dataDir, ...more), { env, timeoutMs });
const stopHub = (dataDir: string) => skerryText(["down", "--data", dataDir], { timeoutMs });
const statusOf = (dataDir: string) =>
  skerryJson<FleetStatus>(["status", "--data", dataDir], { timeoutMs });
/** What a start says that must not succeed. */
const refusedStart = async (dataDir: string, ...more: string[]) => {
  const { code, stderr } = await skerry(hubArgs(dataDir, ...more), { env, timeoutMs });
  assert.notEqual(code, 0);
  return stderr;
};

const identityOf = (dataDir: string) => join(dataDir, "identity");
const caOf = (dataDir: string) =>
  readRecord(join(identityOf(dataDir), "ca.json")) as { keyPem?: string; keyReference?: string };
const pinOf = (dataDir: string) => readAuthorityPin(identityOf(dataDir)) ?? "";

const portOf = ({ address }: HubInfo) => {
  const [host = "", port] = address.split(":");
  return { host, port: Number(port) };
};

const authorityDeps = { random: systemRandom, nowMs: () => Date.now() };
const makeCell = (name: string) =>
  createAuthority(authorityDeps, { folder: join(dir, name), trustDomain: `${name}.skerry` });

async function tokenFor(dataDir: string, cell: string): Promise<string> {
  const args = ["token", "create", "--data", dataDir, "--cell", cell];
  return (await skerryJson<{ token: string }>(args, { timeoutMs })).token;
}

/** As a server of a cell enrols it. */
async function enrolCell(hub: HubInfo, cell: FolderAuthority, joinToken: string): Promise<void> {
  const request = await cellRequest(cell, { token: joinToken });
  const { trustDomain, pin } = parseJoinToken(joinToken);
  const deps = { clock: systemClock, nowMs: () => Date.now() };
  acceptCellAnswer(cell, await enrol(deps, { ...portOf(hub), trustDomain, pin, request }));
}

/** A node of the cell, as the hub judges it. */
async function assertTrusted(hubDir: string, cell: FolderAuthority): Promise<void> {
  assert.ok(cell.hub);
  assert.deepEqual(cell.hub.trust.anchorsPem.flatMap(readCertificatesPem).length, 1);
  const subject = spiffeId(cell.trustDomain, "node", "n1");
  const { chainPem } = await cell.issueCredentials(subject);
  const { anchorsPem } = cell.hub.trust;
  const trust = { trustDomain: cell.trustDomain, anchorsPem };
  const verdict = verifyCertificates(readCertificatesPem(chainPem), trust, Date.now());
  assert.deepEqual(verdict.ok && verdict.subject, subject);
  assert.ok(
    anchorsPem
      .flatMap(readCertificatesPem)
      .every(
        ({ publicKey }) =>
          spkiPin(publicKey.export({ type: "spki", format: "der" })) === pinOf(hubDir),
      ),
  );
}

/** The keys of all private keys in PEM, as they stand or within JSON, in files below a folder. */
const privateKeysBelow = (folder: string) =>
  globSync("**/*", { cwd: folder })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
    .flatMap((path) => {
      const text = readFileSync(path, "latin1").replaceAll("\\n", "\n");
      const found = text.match(/-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]+-----END [A-Z ]+-----/g);
      return (found ?? []).map((pem) => spkiPin(publicKeyOf(pem)));
    });
const assertNoKey = (dataDir: string) => {
  const pins = privateKeysBelow(dataDir);
  assert.ok(pins.length > 0, "it finds the keys of the hub's own leaves");
  assert.ok(!pins.includes(pinOf(dataDir)), "the authority's key is in no file of the hub");
};

test("among several keys of a token the one that was named signs", async (t) => {
  token.makeKey("decoy", "07");
  token.makeKey("Schlüssel der Flotte", "0a0b");
  process.env["SOFTHSM2_CONF"] = token.env["SOFTHSM2_CONF"];
  t.after(() => delete process.env["SOFTHSM2_CONF"]);
  const bytes = Buffer.from("text");
  const pins: string[] = [];
  const names = ["decoy", `object=${encodeURIComponent("Schlüssel der Flotte")}`, "id=%0A%0b"];
  for (const name of names) {
    const reference = parseKeyReference(token.reference(name));
    const key = openModuleKey({ clock: systemClock }, reference);
    const spki = await key.readPublicKey();
    assert.ok(isSignedWith(spki, bytes, await key.sign(bytes)), name);
    pins.push(spkiPin(spki));
  }
  const [decoy, byLabel, byId] = pins;
  assert.notEqual(decoy, byLabel);
  assert.equal(byLabel, byId);
});

test("I23: a hub is made with a key of a token, a cell enrols, and stays linked while the token is away", async () => {
  const reference = token.reference("hub-ca");
  const said = await refusedStart(made, "--authority-key", reference);
  const [line] = /pkcs11-tool --module [^)]*/.exec(said) ?? [];
  assert.ok(line, said);
  token.run(line);
  const hub = await startHub(made, "--authority-key", reference);
  assert.deepEqual(
    { ...caOf(made), anchorPem: "" },
    { version: 1, trustDomain: "hub.skerry", anchorPem: "", keyReference: reference },
  );
  assertNoKey(made);

  await skerryText(
    [
      ...["up", "--data", node, "--host", "127.0.68.21", "--cell", "shop", "--node", "n1"],
      ...["--hub", hub.address, "--hub-token", await tokenFor(made, "shop"), "--detach"],
    ],
    { timeoutMs },
  );
  const linked = () =>
    waitFor(
      async () => {
        const status = await statusOf(made);
        return status.cells.some(({ state }) => state === "connected") && status;
      },
      { what: "the cell at the hub" },
    );
  assert.equal((await linked()).keyFailure, undefined);
  const mill = await makeCell("mill");
  const joinToken = await tokenFor(made, "mill");

  token.away();
  await stopHub(made);
  const again = await startHub(made);
  assert.match((await linked()).keyFailure?.why ?? "", /token "skerry" .* does not sign/);
  assert.match(
    await skerryText(["status", "--data", made], { timeoutMs }),
    /no cell can enrol or renew for .*, links go on: token "skerry"/,
  );
  await assert.rejects(enrolCell(again, mill, joinToken), {
    code: "authority-unavailable",
    retryable: true,
    // Whose token the hub has, and where, is for its own administrator.
    message: /^[^"/]*$/,
  });
  assert.equal(mill.hub, undefined);

  token.back();
  await enrolCell(again, mill, joinToken);
  await assertTrusted(made, mill);
  assert.equal((await linked()).keyFailure, undefined, "the enrolment showed that it signs");
});

test("I22: of a tool that hangs, or answers with something else, nobody is given a certificate", async () => {
  const hub = await startHub(made);
  const yard = await makeCell("yard");
  const joinToken = await tokenFor(made, "yard");
  const wrong = /what signs for hub.skerry CA is not the key/;
  const answers: [string, RegExp][] = [
    ["exec sleep 300", /no answer within 8 s/],
    ["head -c 70 /dev/zero", wrong],
    ["exit 0", wrong],
    [`exec pkcs11-tool $(echo "$*" | sed 's/--id 01/--id 07/')`, wrong],
  ];
  for (const [script, why] of answers) {
    fake.does(`case "$*" in *--sign*) ${script};; *) real "$@";; esac`);
    const refused = enrolCell(hub, yard, joinToken);
    await assert.rejects(refused, { code: "authority-unavailable" }, script);
    assert.equal(yard.hub, undefined);
    assert.match((await statusOf(made)).keyFailure?.why ?? "", why);
  }
  fake.does("real");
  await enrolCell(hub, yard, joinToken);
  await assertTrusted(made, yard);
});

test("I23: a second process with the same folder signs the same, by a way of its own to the key", async () => {
  const before = caOf(made);
  const byId = token.reference("id=%01");
  const other = await startHub(second, "--authority", identityOf(made), "--authority-key", byId);
  assert.deepEqual(caOf(made), { ...before, keyReference: byId });
  const pier = await makeCell("pier");
  await enrolCell(other, pier, await tokenFor(second, "pier"));
  await assertTrusted(made, pier);
});

test("I23: a key that moves from the folder into a token keeps its pin and its cells, and leaves the folder", async () => {
  const hub = await startHub(moved);
  const dock = await makeCell("dock");
  await enrolCell(hub, dock, await tokenFor(moved, "dock"));
  const [pin, { keyPem }] = [pinOf(moved), caOf(moved)];
  assert.ok(keyPem);
  const reference = token.reference("hub-of-dock");
  await stopHub(moved);

  // Another key: the file stays as it is.
  token.makeKey("hub-of-dock", "0d");
  assert.match(await refusedStart(moved, "--authority-key", reference), /is not the key of its/);
  assert.equal(caOf(moved).keyPem, keyPem);
  for (const type of ["privkey", "pubkey"])
    token.tool("--delete-object", "--type", type, "--id", "0d");
  token.run(linesOfMove());
  const again = await startHub(moved, "--authority-key", reference);
  assert.equal(pinOf(moved), pin);
  assert.equal(caOf(moved).keyPem, undefined);
  assertNoKey(moved);
  assert.match(
    readFileSync(join(moved, "logs", "hub.log"), "utf8"),
    /stands in its folder no longer/,
  );
  const fresh = openAuthority(authorityDeps, join(dir, "dock"));
  assert.ok(fresh);
  await assertTrusted(moved, fresh);
  const quay = await makeCell("quay");
  await enrolCell(again, quay, await tokenFor(moved, "quay"));
  await assertTrusted(moved, quay);
  assert.equal(quay.hub?.trust.anchorsPem[0], dock.hub?.trust.anchorsPem[0]);
});

/** What an administrator is told to run between the two starts. */
function linesOfMove(): string {
  const text = readFileSync(join(import.meta.dirname, "../../docs/hub-key.md"), "utf8");
  const [, section = ""] = text.split("## Moving a key from its file");
  const [, block = ""] = /^```sh\n(.*?)^```/ms.exec(section) ?? [];
  const lines = block.split("\n").filter((line) => line !== "" && !line.startsWith("skerry "));
  return lines
    .join("\n")
    .replaceAll("/srv/skerry-hub/", `${moved}/`)
    .replaceAll("/dev/shm/", `${dir}/`)
    .replace("--label hub-ca --id 01", "--label hub-of-dock --id 0d");
}
