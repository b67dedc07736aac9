/** Where members of the ledger serve clients. */
import { witnessClientHost, type EtcdEndpoint, type EtcdMember } from "../ledger/index.ts";

/** Of a member that has told where it serves clients. */
export function endpointOf({ name, clientUrls }: EtcdMember): EtcdEndpoint[] {
  const url = URL.parse(clientUrls[0] ?? "");
  if (name === "" || !url || url.hostname === witnessClientHost) return [];
  return [{ name, host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port) }];
}
