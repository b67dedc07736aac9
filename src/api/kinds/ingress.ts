/** Ingress: which host and path reach which service. */
import * as z from "zod";
import type { FieldIssue } from "../kind.ts";
import { listOf, opaque, port } from "../schema/builders.ts";
import { dnsSubdomainProblem } from "../values/names.ts";
import { defineKind } from "./define.ts";
import { metadataSchema } from "./metadata.ts";

const backendSchema = z
  .strictObject({
    service: z.strictObject({
      name: z.string(),
      port: z.strictObject({ name: z.string(), number: port }).partial().optional(),
    }),
    resource: opaque,
  })
  .partial();
export type IngressBackend = z.infer<typeof backendSchema>;

const ingressSchema = z.strictObject({
  apiVersion: z.literal("networking.k8s.io/v1"),
  kind: z.literal("Ingress"),
  metadata: metadataSchema,
  spec: z
    .strictObject({
      ingressClassName: z.string(),
      defaultBackend: backendSchema,
      rules: listOf(
        z
          .strictObject({
            host: z.string(),
            http: z.strictObject({
              paths: listOf(
                z.strictObject({
                  path: z.string().optional(),
                  pathType: z.enum(["Exact", "Prefix", "ImplementationSpecific"]),
                  backend: backendSchema,
                }),
              ),
            }),
          })
          .partial(),
      ),
      tls: listOf(z.strictObject({ hosts: listOf(z.string()), secretName: z.string() }).partial()),
    })
    .partial(),
  status: z
    .strictObject({
      loadBalancer: z
        .strictObject({
          ingress: listOf(
            z
              .strictObject({ ip: z.string(), hostname: z.string(), ports: listOf(opaque) })
              .partial(),
          ),
        })
        .partial(),
    })
    .partial()
    .optional(),
});
export type Ingress = z.infer<typeof ingressSchema>;

export const ingressKind = defineKind<Ingress>({
  group: "networking.k8s.io",
  version: "v1",
  kind: "Ingress",
  plural: "ingresses",
  shortNames: ["ing"],
  schema: ingressSchema,
  subresources: ["status"],
  ownColumns: [
    {
      name: "Class",
      type: "string",
      description: "Who serves it.",
      cell: ({ spec }) => spec.ingressClassName ?? "<none>",
    },
    {
      name: "Hosts",
      type: "string",
      description: "Hosts of the rules.",
      cell: ({ spec }) => {
        const hosts = (spec.rules ?? []).map(({ host }) => host ?? "*");
        return hosts.length === 0 ? "*" : hosts.join(",");
      },
    },
    {
      name: "Address",
      type: "string",
      description: "Where it is served.",
      cell: ({ status }) =>
        (status?.loadBalancer?.ingress ?? [])
          .map(({ ip, hostname }) => ip ?? hostname ?? "")
          .join(","),
    },
    {
      name: "Ports",
      type: "string",
      description: "Ports: 443 too when tls is given.",
      cell: ({ spec }) => (spec.tls?.length ? "80, 443" : "80"),
    },
  ],
  validate({ spec }) {
    const issues: FieldIssue[] = [];
    if (!spec.defaultBackend && !spec.rules?.length)
      issues.push({ field: "spec.rules", message: "needs a rule, or spec.defaultBackend" });
    if (spec.defaultBackend)
      issues.push(...backendIssues(spec.defaultBackend, "spec.defaultBackend"));
    for (const [index, rule] of (spec.rules ?? []).entries()) {
      const problem = rule.host ? dnsSubdomainProblem(rule.host.replace(/^\*\./, "")) : undefined;
      if (problem) issues.push({ field: `spec.rules[${index}].host`, message: problem });
      for (const [at, entry] of (rule.http?.paths ?? []).entries()) {
        const field = `spec.rules[${index}].http.paths[${at}]`;
        issues.push(...backendIssues(entry.backend, `${field}.backend`));
        const pathNeeded = entry.pathType !== "ImplementationSpecific";
        if ((pathNeeded || entry.path) && !entry.path?.startsWith("/")) {
          issues.push({
            field: `${field}.path`,
            message: `"${entry.path ?? ""}" must start with "/"`,
          });
        }
      }
    }
    return issues;
  },
});

function backendIssues(backend: IngressBackend, field: string): FieldIssue[] {
  if (!backend.service)
    return [{ field: `${field}.service`, message: "is required: Skerry routes to services only" }];
  const { name, number } = backend.service.port ?? {};
  return (name === undefined) === (number === undefined)
    ? [{ field: `${field}.service.port`, message: "needs either a number or a name" }]
    : [];
}
