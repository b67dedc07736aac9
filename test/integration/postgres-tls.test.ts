/** TLS to a real PostgreSQL: whom the hub takes for its database, and what it says of others. */
import { strict as assert } from "node:assert";
import { chmodSync, chownSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  createAuthority,
  createRequest,
  generateKeyPem,
  type Authority,
} from "../../src/identity/index.ts";
import { explain, SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import {
  openPostgres,
  openSyncPostgres,
  parsePostgresUrl,
} from "../../src/runtime/postgres/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { startPostgres } from "../support/postgres.ts";

test("verify-full takes the server that the certificate authority names, and no other", async () => {
  using folder = temporaryFolder();
  await using server = await startPostgres({ host: "127.0.69.1" });
  const authorityOf = async (name: string) =>
    await createAuthority(
      { random: systemRandom, nowMs: () => Date.now() },
      { folder: join(folder.path, name), trustDomain: `${name}.skerry` },
    );
  const rootOf = (authority: Authority) => {
    const path = join(folder.path, `${authority.trustDomain}.pem`);
    writeFileSync(path, authority.trust.anchorsPem.join("\n"));
    return path;
  };
  /** As `ALTER SYSTEM` and a reload would: it starts with this certificate. */
  const serveAs = async (authority: Authority, ip: string) => {
    const keyPem = generateKeyPem();
    const names = { dns: [`api.${authority.trustDomain}`], ips: [ip] };
    const chainPem = await authority.issueServing(await createRequest(keyPem), names);
    const owner = statSync(server.folder);
    for (const [name, pem] of [
      ["server.key", keyPem],
      ["server.crt", chainPem],
    ] as const) {
      const path = join(server.folder, name);
      writeFileSync(path, pem);
      chownSync(path, owner.uid, owner.gid);
      chmodSync(path, 0o600);
    }
    await server.stop();
    await server.start([
      "ssl=on",
      `ssl_cert_file=${join(server.folder, "server.crt")}`,
      `ssl_key_file=${join(server.folder, "server.key")}`,
    ]);
  };
  const [own, other] = [await authorityOf("db"), await authorityOf("other")];
  const plain = await server.freshUrl();
  const url = (mode: string, root: string) => `${plain}&sslmode=${mode}&sslrootcert=${root}`;
  const isEncrypted = async (address: string) => {
    const postgres = await openPostgres(
      { clock: systemClock, log: silentLog },
      parsePostgresUrl(address),
      { application: "test", connectionsMax: 1 },
    );
    const [row] = await postgres.use((session) =>
      session.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"),
    );
    await postgres.close();
    return row?.["ssl"];
  };
  const refusal = async (address: string): Promise<SkerryError> => {
    const error = await isEncrypted(address).catch((thrown: unknown) => thrown);
    assert.ok(error instanceof SkerryError, String(error));
    return error;
  };

  await serveAs(own, server.host);
  assert.equal(await isEncrypted(url("verify-full", rootOf(own))), true);
  assert.equal(await isEncrypted(plain), true);
  const stranger = await refusal(url("verify-full", rootOf(other)));
  assert.equal(stranger.code, "database-untrusted");
  assert.match(explain(stranger), /sslrootcert/);
  // The session that threads wait for is the same one.
  const sync = openSyncPostgres(parsePostgresUrl(url("verify-full", rootOf(other))), {
    application: "test",
    setup: "SELECT 1",
  });
  assert.throws(() => sync.run([{ text: "SELECT 1", values: [] }], { connect: true }), {
    code: "database-untrusted",
  });
  await sync.close();

  await serveAs(own, "127.0.69.9");
  const misnamed = await refusal(url("verify-full", rootOf(own)));
  assert.equal(misnamed.code, "database-untrusted");
  assert.match(misnamed.message, /127\.0\.69\.1/);
  assert.equal(await isEncrypted(url("verify-ca", rootOf(own))), true);
});
