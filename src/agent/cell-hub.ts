/** The cell's hub, as this node knows it: by its own record, or by what the cell's first node wrote for all. */
import { configMapKind, type ConfigMap } from "../api/index.ts";
import { cellConfigName } from "./bindings.ts";
import type { NodeRecord } from "./config.ts";
import type { Mirrored } from "./mirrored.ts";

/** Tells the hub's address, once there is one and whenever it changes; of a cell without a hub, never. */
export function followHubAddress(
  deps: { record: Pick<NodeRecord, "hub">; mirrored: Mirrored },
  listener: (address: string) => void,
): void {
  const { record, mirrored } = deps;
  if (record.hub !== undefined) listener(record.hub);
  mirrored.follow(
    configMapKind,
    ([map]: readonly ConfigMap[]) => {
      const told = map?.data?.["hub"];
      if (told !== undefined) listener(told);
    },
    { namespace: "kube-system", fieldSelector: `metadata.name=${cellConfigName}` },
  );
}
