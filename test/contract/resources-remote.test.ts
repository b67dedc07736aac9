import { createRemoteResources } from "../../src/resources/index.ts";
import { verifyServer } from "../../src/identity/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { serverName, startCell } from "../support/apiserver.ts";
import { resourcesContract } from "./resources.ts";

resourcesContract("remote", async () => {
  const cell = await startCell();
  const credentials = await cell.credentials("user", "admin");
  const { trust } = cell.authority;
  const resources = createRemoteResources(
    { clock: systemClock, log: silentLog },
    {
      node: "n2",
      servers: () => [{ host: cell.host, port: cell.port }],
      servername: serverName,
      credentials: () => ({ ...credentials, anchorsPem: trust.anchorsPem }),
      judgeServer: (socket) => verifyServer(socket, trust, Date.now(), { host: serverName }),
      // A machine that stands still for a moment is no server that does not answer.
      connectTimeoutMs: 30_000,
      attemptTimeoutMs: 30_000,
    },
  );
  return {
    resources,
    async compact() {
      const { revision } = await cell.ledger.status();
      await cell.ledger.compact(revision);
    },
    async [Symbol.asyncDispose]() {
      await resources.close();
      await cell[Symbol.asyncDispose]();
    },
  };
});
