/** Join tokens of a hub in PostgreSQL, good once at whichever of its processes. */
import type { TokenRecord, TokenStore } from "../identity/index.ts";
import type { Postgres, Row } from "../runtime/postgres/index.ts";

/** Tokens expired for longer than this are removed when another is put. */
const keepExpired = "1 day";

export function createPostgresTokens(postgres: Postgres): TokenStore {
  return {
    async put(record) {
      await postgres.use(async (session) => {
        await session.query(
          `DELETE FROM skerry.token WHERE expires_at < now() - interval '${keepExpired}'`,
        );
        await session.query(
          `INSERT INTO skerry.token(id, secret_hash, expires_at, name, server)
           VALUES ($1, $2, to_timestamp($3 / 1000.0), $4, $5)`,
          [
            record.id,
            record.secretHash,
            record.expiresAtMs,
            record.name ?? null,
            record.server ?? false,
          ],
        );
      });
    },
    async get(id) {
      const [row] = await postgres.use((session) =>
        session.query(
          `SELECT id, secret_hash, (extract(epoch FROM expires_at) * 1000)::bigint AS expires_at, name, server
           FROM skerry.token WHERE id = $1`,
          [id],
        ),
      );
      return row && tokenOf(row);
    },
    async takeOnce(id, by) {
      const [row] = await postgres.use((session) =>
        session.query(
          "UPDATE skerry.token SET used_by = coalesce(used_by, $2) WHERE id = $1 RETURNING used_by",
          [id, by],
        ),
      );
      return String(row?.["used_by"]);
    },
  };
}

const tokenOf = (row: Row): TokenRecord => ({
  id: String(row["id"]),
  secretHash: String(row["secret_hash"]),
  expiresAtMs: Number(row["expires_at"]),
  ...(row["name"] === null ? {} : { name: String(row["name"]) }),
  ...(row["server"] === true ? { server: true } : {}),
});
