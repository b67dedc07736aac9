/**
 * The example application of the demo and the drills: a web service that answers with the node and
 * pod it runs on, as ordinary Kubernetes objects.
 */
import {
  deploymentKind,
  ingressKind,
  serviceKind,
  streamKind,
  type Deployment,
  type Ingress,
  type Service,
  type Stream,
} from "../api/index.ts";
import type { Cluster } from "./cluster.ts";

export type ExampleOptions = {
  /** Also the path it is reached under: `/NAME`. */
  readonly name: string;
  readonly replicas: number;
  readonly port: number;
  /** The Node binary that runs it. */
  readonly nodePath: string;
};

/** Plain JavaScript without dependencies; PORT and the rest come from the pod's environment. */
const program = `
const { Server } = require("node:http");
const { env } = process;
let answered = 0;
const server = new Server((request, response) => {
  const body = JSON.stringify({ hello: "from the edge", node: env.NODE_NAME, pod: env.POD_NAME, answered: ++answered });
  response.writeHead(200, { "content-type": "application/json" }).end(body + "\\n");
});
server.keepAliveTimeout = 65000;
server.listen(Number(env.PORT), env.POD_IP, () => console.log("listening on " + env.POD_IP + ":" + env.PORT));
process.on("SIGTERM", () => { server.close(() => process.exit(0)); server.closeIdleConnections(); });
`;

export function exampleApplication(options: ExampleOptions): {
  deployment: Deployment;
  service: Service;
  ingress: Ingress;
} {
  const { name, replicas, port, nodePath } = options;
  const metadata = { name, namespace: "default" };
  const labels = { app: name };
  return {
    deployment: {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { ...metadata, labels },
      spec: {
        replicas,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            terminationGracePeriodSeconds: 5,
            containers: [
              {
                name: "web",
                image: "host",
                command: [nodePath, "-e", program],
                env: [{ name: "PORT", value: String(port) }],
                ports: [{ name: "http", containerPort: port }],
                resources: { requests: { cpu: "50m", memory: "64Mi" } },
                readinessProbe: {
                  httpGet: { path: "/", port: "http" },
                  periodSeconds: 2,
                  failureThreshold: 3,
                },
              },
            ],
          },
        },
      },
    },
    service: {
      apiVersion: "v1",
      kind: "Service",
      metadata,
      spec: { selector: labels, ports: [{ name: "http", port: 80, targetPort: "http" }] },
    },
    ingress: {
      apiVersion: "networking.k8s.io/v1",
      kind: "Ingress",
      metadata,
      spec: {
        rules: [
          {
            http: {
              paths: [
                {
                  path: `/${name}`,
                  pathType: "Prefix",
                  backend: { service: { name, port: { name: "http" } } },
                },
              ],
            },
          },
        ],
      },
    },
  };
}

/** A stream whose named fields may leave for the hub; everything else stays. */
export function exampleStream(name: string, keep: string[], description: string): Stream {
  return {
    apiVersion: "skerry.dev/v1alpha1",
    kind: "Stream",
    metadata: { name },
    spec: {
      description,
      durability: "local",
      retention: { maxAge: "7d", maxBytes: "256Mi" },
      egress: { keep },
    },
  };
}

export async function applyExample(cluster: Cluster, options: ExampleOptions): Promise<void> {
  const { deployment, service, ingress } = exampleApplication(options);
  await cluster.apply(deploymentKind, deployment);
  await cluster.apply(serviceKind, service);
  await cluster.apply(ingressKind, ingress);
}

export async function applyStream(cluster: Cluster, stream: Stream): Promise<void> {
  await cluster.apply(streamKind, stream);
}
