/** The specification of a pod: Kubernetes' names and shapes; what Skerry does not act on is kept. */
import * as z from "zod";
import {
  count,
  integer,
  intOrString,
  listByKey,
  listOf,
  opaque,
  port,
  protocol,
  quantities,
  quantity,
  textMap,
} from "../schema/builders.ts";
import {
  affinitySchema,
  tolerationSchema,
  topologySpreadConstraintSchema,
} from "./pod-placement.ts";

const keyReference = z.strictObject({
  name: z.string().optional(),
  key: z.string(),
  optional: z.boolean().optional(),
});

const envVarSchema = z.strictObject({
  name: z.string().min(1),
  value: z.string().optional(),
  valueFrom: z
    .strictObject({
      fieldRef: z.strictObject({ apiVersion: z.string().optional(), fieldPath: z.string() }),
      resourceFieldRef: z.strictObject({
        containerName: z.string().optional(),
        resource: z.string(),
        divisor: quantity.optional(),
      }),
      configMapKeyRef: keyReference,
      secretKeyRef: keyReference,
    })
    .partial()
    .optional(),
});
export type EnvVar = z.infer<typeof envVarSchema>;

const optionalSource = z.strictObject({ name: z.string(), optional: z.boolean() }).partial();

const envFromSchema = z
  .strictObject({ prefix: z.string(), configMapRef: optionalSource, secretRef: optionalSource })
  .partial();

const httpHeader = z.strictObject({ name: z.string(), value: z.string() });
const actions = {
  exec: z.strictObject({ command: listOf(z.string()) }),
  httpGet: z.strictObject({
    path: z.string().optional(),
    port: intOrString,
    host: z.string().optional(),
    scheme: z.enum(["HTTP", "HTTPS"]).optional(),
    httpHeaders: listOf(httpHeader).optional(),
  }),
  tcpSocket: z.strictObject({ port: intOrString, host: z.string().optional() }),
};

export const probeSchema = z
  .strictObject({
    ...actions,
    grpc: z.strictObject({ port, service: z.string().optional() }),
    initialDelaySeconds: count,
    periodSeconds: count,
    timeoutSeconds: count,
    successThreshold: count,
    failureThreshold: count,
    terminationGracePeriodSeconds: count,
  })
  .partial();
export type Probe = z.infer<typeof probeSchema>;

const lifecycleHandler = z
  .strictObject({ ...actions, sleep: z.strictObject({ seconds: count }) })
  .partial();

export const resourceRequirementsSchema = z
  .strictObject({ requests: quantities, limits: quantities, claims: listByKey(opaque, ["name"]) })
  .partial();

const containerPortSchema = z.strictObject({
  containerPort: port,
  hostPort: port.optional(),
  hostIP: z.string().optional(),
  name: z.string().optional(),
  protocol: protocol.optional(),
});

const securityFields = {
  runAsUser: integer,
  runAsGroup: integer,
  runAsNonRoot: z.boolean(),
  seLinuxOptions: opaque,
  seccompProfile: opaque,
  appArmorProfile: opaque,
};

const containerSecurityContext = z
  .strictObject({
    ...securityFields,
    privileged: z.boolean(),
    allowPrivilegeEscalation: z.boolean(),
    readOnlyRootFilesystem: z.boolean(),
    capabilities: z.strictObject({ add: listOf(z.string()), drop: listOf(z.string()) }).partial(),
    procMount: z.string(),
  })
  .partial();

export const containerSchema = z.strictObject({
  name: z.string(),
  image: z.string().optional(),
  imagePullPolicy: z.enum(["Always", "IfNotPresent", "Never"]).optional(),
  command: listOf(z.string()).optional(),
  args: listOf(z.string()).optional(),
  workingDir: z.string().optional(),
  ports: listByKey(containerPortSchema, ["containerPort", "protocol"]).optional(),
  env: listByKey(envVarSchema, ["name"]).optional(),
  envFrom: listOf(envFromSchema).optional(),
  resources: resourceRequirementsSchema.optional(),
  volumeMounts: listByKey(
    z.strictObject({
      name: z.string(),
      mountPath: z.string(),
      subPath: z.string().optional(),
      subPathExpr: z.string().optional(),
      readOnly: z.boolean().optional(),
      recursiveReadOnly: z.string().optional(),
      mountPropagation: z.string().optional(),
    }),
    ["mountPath"],
  ).optional(),
  livenessProbe: probeSchema.optional(),
  readinessProbe: probeSchema.optional(),
  startupProbe: probeSchema.optional(),
  lifecycle: z
    .strictObject({ postStart: lifecycleHandler, preStop: lifecycleHandler })
    .partial()
    .optional(),
  securityContext: containerSecurityContext.optional(),
  terminationMessagePath: z.string().optional(),
  terminationMessagePolicy: z.string().optional(),
  restartPolicy: z.string().optional(),
  stdin: z.boolean().optional(),
  stdinOnce: z.boolean().optional(),
  tty: z.boolean().optional(),
});
export type Container = z.infer<typeof containerSchema>;

const keyToPath = z.strictObject({
  key: z.string(),
  path: z.string(),
  mode: count.optional(),
});
const files = { items: listOf(keyToPath), defaultMode: count, optional: z.boolean() };

const volumeSchema = z.strictObject({
  name: z.string(),
  emptyDir: z.strictObject({ medium: z.string(), sizeLimit: quantity }).partial().optional(),
  hostPath: z.strictObject({ path: z.string(), type: z.string().optional() }).optional(),
  configMap: z
    .strictObject({ name: z.string(), ...files })
    .partial()
    .optional(),
  secret: z
    .strictObject({ secretName: z.string(), ...files })
    .partial()
    .optional(),
  persistentVolumeClaim: z
    .strictObject({ claimName: z.string(), readOnly: z.boolean().optional() })
    .optional(),
  downwardAPI: opaque.optional(),
  projected: opaque.optional(),
});
export type Volume = z.infer<typeof volumeSchema>;

export const podSpecSchema = z.strictObject({
  containers: listByKey(containerSchema, ["name"]).min(1),
  initContainers: listByKey(containerSchema, ["name"]).optional(),
  volumes: listByKey(volumeSchema, ["name"], { retainKeys: true }).optional(),
  nodeName: z.string().optional(),
  nodeSelector: textMap.optional(),
  affinity: affinitySchema.optional(),
  tolerations: listOf(tolerationSchema).optional(),
  topologySpreadConstraints: listByKey(
    topologySpreadConstraintSchema,
    ["topologyKey", "whenUnsatisfiable"],
    { patchKey: "topologyKey" },
  ).optional(),
  restartPolicy: z.enum(["Always", "OnFailure", "Never"]).optional(),
  terminationGracePeriodSeconds: count.optional(),
  activeDeadlineSeconds: count.optional(),
  runtimeClassName: z.string().optional(),
  schedulerName: z.string().optional(),
  priority: integer.optional(),
  priorityClassName: z.string().optional(),
  preemptionPolicy: z.string().optional(),
  serviceAccountName: z.string().optional(),
  serviceAccount: z.string().optional(),
  automountServiceAccountToken: z.boolean().optional(),
  enableServiceLinks: z.boolean().optional(),
  hostNetwork: z.boolean().optional(),
  hostPID: z.boolean().optional(),
  hostIPC: z.boolean().optional(),
  shareProcessNamespace: z.boolean().optional(),
  hostname: z.string().optional(),
  subdomain: z.string().optional(),
  hostAliases: listByKey(
    z.strictObject({ ip: z.string(), hostnames: listOf(z.string()).optional() }),
    ["ip"],
  ).optional(),
  dnsPolicy: z.string().optional(),
  dnsConfig: opaque.optional(),
  imagePullSecrets: listByKey(z.strictObject({ name: z.string() }), ["name"]).optional(),
  securityContext: z
    .strictObject({
      ...securityFields,
      fsGroup: integer,
      fsGroupChangePolicy: z.string(),
      supplementalGroups: listOf(integer),
      sysctls: listOf(opaque),
    })
    .partial()
    .optional(),
});
export type PodSpec = z.infer<typeof podSpecSchema>;
