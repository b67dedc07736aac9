/** A database of a real PostgreSQL on a disk that can be full. */
import { execFileSync } from "node:child_process";
import { chownSync, mkdirSync, rmSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestPostgres } from "./postgres.ts";

export type SmallPostgresDisk = AsyncDisposable & {
  readonly url: string;
  fill(): Promise<void>;
  free(): Promise<void>;
};

/**
 * A database on a small tmpfs where this user may mount one, else one that says what a full disk says
 * when a row is added to `table`. `name`: of the database.
 */
export async function smallPostgresDisk(
  server: TestPostgres,
  { name, table }: { name: string; table: string },
): Promise<SmallPostgresDisk> {
  const mount = join(server.folder, name);
  mkdirSync(mount);
  const run = async (statement: string, url?: string) => {
    await using database = await server.open(url ?? (await server.url("postgres")));
    await database.use((session) => session.query(statement));
  };
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=32m", "skerry-test", mount], {
      stdio: "pipe",
    });
  } catch {
    const url = await server.freshUrl();
    const trigger = `full BEFORE INSERT ON ${table} FOR EACH STATEMENT EXECUTE FUNCTION full()`;
    return {
      url,
      async fill() {
        await run(
          "CREATE FUNCTION full() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE disk_full; END$$",
          url,
        );
        await run(`CREATE TRIGGER ${trigger}`, url);
      },
      free: () => run(`DROP TRIGGER full ON ${table}`, url),
      async [Symbol.asyncDispose]() {},
    };
  }
  const ballast = join(mount, "ballast");
  const { uid, gid } = statSync(join(server.folder, "data"));
  chownSync(mount, uid, gid);
  await run(`CREATE TABLESPACE ${name} LOCATION '${mount}'`);
  await run(`CREATE DATABASE ${name} TABLESPACE ${name}`);
  return {
    url: await server.url(name),
    async fill() {
      // The database's files have holes until then, which would need room at any moment.
      await run("CHECKPOINT");
      const { bavail, bsize } = statfsSync(mount);
      writeFileSync(ballast, new Uint8Array(bavail * bsize - 1024 * 1024));
    },
    async free() {
      rmSync(ballast);
    },
    async [Symbol.asyncDispose]() {
      await run(`DROP DATABASE ${name} WITH (FORCE)`);
      await run(`DROP TABLESPACE ${name}`);
      execFileSync("umount", ["--lazy", mount]);
    },
  };
}
