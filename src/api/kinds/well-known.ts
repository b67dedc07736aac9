/** Labels, annotations, taints and finalizers that several rooms must spell alike. */

/** `keep` or `stop`: what a pod wants when its node is cut off (DESIGN rule F). */
export const onPartitionAnnotation = "skerry.dev/on-partition";
export const onPartitionValues = ["keep", "stop"] as const;
export type OnPartition = (typeof onPartitionValues)[number];
/** `30s`: how long a pod that stops may run without its node's lease being renewed. */
export const partitionTtlAnnotation = "skerry.dev/partition-ttl";
/** The revision of the pod when the scheduler bound it; greater in each further incarnation. */
export const fenceAnnotation = "skerry.dev/fence";
/** On a node's Lease: its agent keeps rule F for each pod by its own TTL, and asks before each start. */
export const podLeasesAnnotation = "skerry.dev/pod-leases";

export const hostnameLabel = "kubernetes.io/hostname";
/** Present (with an empty value) on nodes that hold the ledger. */
export const serverRoleLabel = "node-role.kubernetes.io/control-plane";
export const roleLabelPrefix = "node-role.kubernetes.io/";
export const podTemplateHashLabel = "pod-template-hash";
export const deploymentRevisionAnnotation = "deployment.kubernetes.io/revision";
export const restartedAtAnnotation = "kubectl.kubernetes.io/restartedAt";

export const unreachableTaint = "node.kubernetes.io/unreachable";
export const notReadyTaint = "node.kubernetes.io/not-ready";
export const unschedulableTaint = "node.kubernetes.io/unschedulable";

export const processRuntimeClass = "process";
/** The image of a process pod that uses the host's own file system. */
export const hostImage = "host";

/** Node heartbeats as Leases live here, as in Kubernetes. */
export const nodeLeaseNamespace = "kube-node-lease";
export const systemNamespace = "kube-system";
export const defaultNamespace = "default";
/** They are there from a cell's first start and cannot be deleted. */
export const builtInNamespaces = [defaultNamespace, systemNamespace, nodeLeaseNamespace] as const;
/** Holds a namespace that is being deleted until nothing is left in it. */
export const namespaceFinalizer = "skerry.dev/namespace-content";
