import type { Command } from "commander";
import { renderAccessKubeconfig } from "../../agent/index.ts";
import { readAccess } from "../../runtime/local/index.ts";
import { writeFileAtomic } from "../../runtime/files/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";

export function registerKubeconfig(program: Command, context: Context): void {
  program
    .command("kubeconfig")
    .description("print a kubeconfig with the administrator's certificate, for any kubectl")
    .option(dataFlag, dataFlagText)
    .option("-o, --output <file>", "write it to a file (mode 0600) instead")
    .option("--json", "the parts as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  skerry kubeconfig -o ~/.kube/skerry && export KUBECONFIG=~/.kube/skerry\n  kubectl get nodes,pods -A\n\nEvery node answers, with no server reachable from its mirror:\n  kubectl --server https://NODE:7443 --tls-server-name api.CELL.skerry get pods",
    )
    .action(async (flags: { data?: string; output?: string; json?: boolean }) => {
      const access = readAccess(dataDirOf(flags.data, context));
      const text = flags.json ? JSON.stringify(access) : await renderAccessKubeconfig(access);
      if (flags.output === undefined) {
        context.output.line(text.trimEnd());
        return;
      }
      writeFileAtomic(flags.output, `${text.trimEnd()}\n`);
      context.output.note(
        `wrote ${flags.output}; try: kubectl --kubeconfig ${flags.output} get nodes`,
      );
    });
}
