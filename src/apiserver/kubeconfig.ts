/** A kubeconfig for one user of one cell, with everything inside it. Pure. */
import { yaml } from "../runtime/yaml/index.ts";

export type KubeconfigParts = {
  /** Name of the cell; becomes the name of cluster and context. */
  readonly cell: string;
  /** `https://192.0.2.11:7443` */
  readonly server: string;
  readonly caPem: string;
  /** The user's chain, leaf first. */
  readonly certPem: string;
  readonly keyPem: string;
  /** A DNS name that every node's serving leaf carries: `api.<cell>.skerry`. */
  readonly tlsServerName: string;
  /** Default `admin`. */
  readonly user?: string;
};

export function renderKubeconfig(parts: KubeconfigParts): string {
  const { cell, server } = parts;
  const user = `${parts.user ?? "admin"}@${cell}`;
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  return yaml().stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      clusters: [
        {
          name: cell,
          cluster: {
            server,
            "tls-server-name": parts.tlsServerName,
            "certificate-authority-data": base64(parts.caPem),
          },
        },
      ],
      users: [
        {
          name: user,
          user: {
            "client-certificate-data": base64(parts.certPem),
            "client-key-data": base64(parts.keyPem),
          },
        },
      ],
      contexts: [{ name: cell, context: { cluster: cell, user, namespace: "default" } }],
      "current-context": cell,
      preferences: {},
    },
    { lineWidth: 0 },
  );
}
