/**
 * Field numbers of the Kubernetes messages that clients send as protobuf: of every kind served here
 * and of the reviews, evictions and options beside them. Taken from the `protobuf` tags in
 * k8s.io/api and k8s.io/apimachinery, cut down to the fields that the kinds' schemas know.
 *
 * `NUMBER NAME:TYPE`, comma-separated. `[]` is a list, `{}` a map by text, `*` after a name marks a
 * pointer in Go (a zero on the wire was meant; without it a zero stands for "not given"), and `^`
 * a message whose fields belong to the one around it.
 */
export const messages: Readonly<Record<string, string>> = {
  ObjectMeta:
    "1 name:string, 2 generateName:string, 3 namespace:string, 4 selfLink:string, 5 uid:string, 6 resourceVersion:string, 7 generation:int, 8 creationTimestamp:Time, 9 deletionTimestamp*:Time, 10 deletionGracePeriodSeconds*:int, 11 labels:{}string, 12 annotations:{}string, 13 ownerReferences:[]OwnerReference, 14 finalizers:[]string, 17 managedFields:[]ManagedFieldsEntry",
  OwnerReference:
    "1 kind:string, 3 name:string, 4 uid:string, 5 apiVersion:string, 6 controller*:bool, 7 blockOwnerDeletion*:bool",
  ManagedFieldsEntry:
    "1 manager:string, 2 operation:string, 3 apiVersion:string, 4 time*:Time, 6 fieldsType:string, 7 fieldsV1*:RawJson, 8 subresource:string",
  LabelSelector: "1 matchLabels:{}string, 2 matchExpressions:[]LabelSelectorRequirement",
  LabelSelectorRequirement: "1 key:string, 2 operator:string, 3 values:[]string",
  DeleteOptions:
    "1 gracePeriodSeconds*:int, 2 preconditions*:Preconditions, 3 orphanDependents*:bool, 4 propagationPolicy*:string, 5 dryRun:[]string",
  Preconditions: "1 uid*:string, 2 resourceVersion*:string",

  Affinity:
    "1 nodeAffinity*:NodeAffinity, 2 podAffinity*:PodAffinity, 3 podAntiAffinity*:PodAntiAffinity",
  AppArmorProfile: "1 type:string, 2 localhostProfile*:string",
  Capabilities: "1 add:[]string, 2 drop:[]string",
  ClientIPConfig: "1 timeoutSeconds*:int",
  ClusterTrustBundleProjection:
    "1 name*:string, 2 signerName*:string, 3 labelSelector*:LabelSelector, 4 path:string, 5 optional*:bool, 6 user*:int",
  ConfigMap: "1 metadata:ObjectMeta, 2 data:{}string, 3 binaryData:{}bytes, 4 immutable*:bool",
  ConfigMapEnvSource: "1 ^:LocalObjectReference, 2 optional*:bool",
  ConfigMapKeySelector: "1 ^:LocalObjectReference, 2 key:string, 3 optional*:bool",
  ConfigMapProjection: "1 ^:LocalObjectReference, 2 items:[]KeyToPath, 4 optional*:bool",
  ConfigMapVolumeSource:
    "1 ^:LocalObjectReference, 2 items:[]KeyToPath, 3 defaultMode*:int, 4 optional*:bool",
  Container:
    "1 name:string, 2 image:string, 3 command:[]string, 4 args:[]string, 5 workingDir:string, 6 ports:[]ContainerPort, 7 env:[]EnvVar, 8 resources:ResourceRequirements, 9 volumeMounts:[]VolumeMount, 10 livenessProbe*:Probe, 11 readinessProbe*:Probe, 12 lifecycle*:Lifecycle, 13 terminationMessagePath:string, 14 imagePullPolicy:string, 15 securityContext*:SecurityContext, 16 stdin:bool, 17 stdinOnce:bool, 18 tty:bool, 19 envFrom:[]EnvFromSource, 20 terminationMessagePolicy:string, 22 startupProbe*:Probe, 24 restartPolicy*:string",
  ContainerPort:
    "1 name:string, 2 hostPort:int, 3 containerPort:int, 4 protocol:string, 5 hostIP:string",
  Deployment: "1 metadata:ObjectMeta, 2 spec:DeploymentSpec",
  DeploymentSpec:
    "1 replicas*:int, 2 selector*:LabelSelector, 3 template:PodTemplateSpec, 4 strategy:DeploymentStrategy, 5 minReadySeconds:int, 6 revisionHistoryLimit*:int, 7 paused:bool, 9 progressDeadlineSeconds*:int",
  DeploymentStrategy: "1 type:string, 2 rollingUpdate*:RollingUpdateDeployment",
  DownwardAPIProjection: "1 items:[]DownwardAPIVolumeFile",
  DownwardAPIVolumeFile:
    "1 path:string, 2 fieldRef*:ObjectFieldSelector, 3 resourceFieldRef*:ResourceFieldSelector, 4 mode*:int, 5 user*:int",
  DownwardAPIVolumeSource:
    "1 items:[]DownwardAPIVolumeFile, 2 defaultMode*:int, 3 defaultUser*:int",
  EmptyDirVolumeSource: "1 medium:string, 2 sizeLimit*:Quantity",
  EndpointAddress:
    "1 ip:string, 2 targetRef*:ObjectReference, 3 hostname:string, 4 nodeName*:string",
  EndpointPort: "1 name:string, 2 port:int, 3 protocol:string, 4 appProtocol*:string",
  EndpointSubset:
    "1 addresses:[]EndpointAddress, 2 notReadyAddresses:[]EndpointAddress, 3 ports:[]EndpointPort",
  Endpoints: "1 metadata:ObjectMeta, 2 subsets:[]EndpointSubset",
  EnvFromSource:
    "1 prefix:string, 2 configMapRef*:ConfigMapEnvSource, 3 secretRef*:SecretEnvSource",
  EnvVar: "1 name:string, 2 value:string, 3 valueFrom*:EnvVarSource",
  EnvVarSource:
    "1 fieldRef*:ObjectFieldSelector, 2 resourceFieldRef*:ResourceFieldSelector, 3 configMapKeyRef*:ConfigMapKeySelector, 4 secretKeyRef*:SecretKeySelector",
  Event:
    "1 metadata:ObjectMeta, 2 involvedObject:ObjectReference, 3 reason:string, 4 message:string, 5 source:EventSource, 6 firstTimestamp:Time, 7 lastTimestamp:Time, 8 count:int, 9 type:string, 10 eventTime:MicroTime, 11 series*:EventSeries, 12 action:string, 13 related*:ObjectReference, 14 reportingComponent:string, 15 reportingInstance:string",
  EventSeries: "1 count:int, 2 lastObservedTime:MicroTime",
  EventSource: "1 component:string, 2 host:string",
  Eviction: "1 metadata:ObjectMeta, 2 deleteOptions*:DeleteOptions",
  ExecAction: "1 command:[]string",
  FieldSelectorAttributes: "1 rawSelector:string",
  GRPCAction: "1 port:int, 2 service*:string",
  HTTPGetAction:
    "1 path:string, 2 port:IntOrString, 3 host:string, 4 scheme:string, 5 httpHeaders:[]HTTPHeader",
  HTTPHeader: "1 name:string, 2 value:string",
  HTTPIngressPath: "1 path:string, 2 backend:IngressBackend, 3 pathType*:string",
  HTTPIngressRuleValue: "1 paths:[]HTTPIngressPath",
  HostAlias: "1 ip:string, 2 hostnames:[]string",
  HostPathVolumeSource: "1 path:string, 2 type*:string",
  Ingress: "1 metadata:ObjectMeta, 2 spec:IngressSpec",
  IngressBackend: "3 resource*:TypedLocalObjectReference, 4 service*:IngressServiceBackend",
  IngressRule: "1 host:string, 2 ^:IngressRuleValue",
  IngressRuleValue: "1 http*:HTTPIngressRuleValue",
  IngressServiceBackend: "1 name:string, 2 port:ServiceBackendPort",
  IngressSpec:
    "1 defaultBackend*:IngressBackend, 2 tls:[]IngressTLS, 3 rules:[]IngressRule, 4 ingressClassName*:string",
  IngressTLS: "1 hosts:[]string, 2 secretName:string",
  KeyToPath: "1 key:string, 2 path:string, 3 mode*:int, 4 user*:int",
  LabelSelectorAttributes: "1 rawSelector:string",
  Lease: "1 metadata:ObjectMeta, 2 spec:LeaseSpec",
  LeaseSpec:
    "1 holderIdentity*:string, 2 leaseDurationSeconds*:int, 3 acquireTime*:MicroTime, 4 renewTime*:MicroTime, 5 leaseTransitions*:int, 6 strategy*:string, 7 preferredHolder*:string",
  Lifecycle: "1 postStart*:LifecycleHandler, 2 preStop*:LifecycleHandler",
  LifecycleHandler:
    "1 exec*:ExecAction, 2 httpGet*:HTTPGetAction, 3 tcpSocket*:TCPSocketAction, 4 sleep*:SleepAction",
  LocalObjectReference: "1 name:string",
  Namespace: "1 metadata:ObjectMeta, 2 spec:NamespaceSpec",
  NamespaceSpec: "1 finalizers:[]string",
  Node: "1 metadata:ObjectMeta, 2 spec:NodeSpec",
  NodeAffinity:
    "1 requiredDuringSchedulingIgnoredDuringExecution*:NodeSelector, 2 preferredDuringSchedulingIgnoredDuringExecution:[]PreferredSchedulingTerm",
  NodeSelector: "1 nodeSelectorTerms:[]NodeSelectorTerm",
  NodeSelectorRequirement: "1 key:string, 2 operator:string, 3 values:[]string",
  NodeSelectorTerm:
    "1 matchExpressions:[]NodeSelectorRequirement, 2 matchFields:[]NodeSelectorRequirement",
  NodeSpec:
    "1 podCIDR:string, 3 providerID:string, 4 unschedulable:bool, 5 taints:[]Taint, 7 podCIDRs:[]string",
  NonResourceAttributes: "1 path:string, 2 verb:string",
  ObjectFieldSelector: "1 apiVersion:string, 2 fieldPath:string",
  ObjectReference:
    "1 kind:string, 2 namespace:string, 3 name:string, 4 uid:string, 5 apiVersion:string, 6 resourceVersion:string, 7 fieldPath:string",
  PersistentVolumeClaimVolumeSource: "1 claimName:string, 2 readOnly:bool",
  Pod: "1 metadata:ObjectMeta, 2 spec:PodSpec",
  PodAffinity:
    "1 requiredDuringSchedulingIgnoredDuringExecution:[]PodAffinityTerm, 2 preferredDuringSchedulingIgnoredDuringExecution:[]WeightedPodAffinityTerm",
  PodAffinityTerm:
    "1 labelSelector*:LabelSelector, 2 namespaces:[]string, 3 topologyKey:string, 4 namespaceSelector*:LabelSelector, 5 matchLabelKeys:[]string, 6 mismatchLabelKeys:[]string",
  PodAntiAffinity:
    "1 requiredDuringSchedulingIgnoredDuringExecution:[]PodAffinityTerm, 2 preferredDuringSchedulingIgnoredDuringExecution:[]WeightedPodAffinityTerm",
  PodCertificateProjection:
    "1 signerName:string, 2 keyType:string, 3 maxExpirationSeconds*:int, 4 credentialBundlePath:string, 5 keyPath:string, 6 certificateChainPath:string, 7 userAnnotations:{}string, 8 user*:int",
  PodDNSConfig: "1 nameservers:[]string, 2 searches:[]string, 3 options:[]PodDNSConfigOption",
  PodDNSConfigOption: "1 name:string, 2 value*:string",
  PodSecurityContext:
    "1 seLinuxOptions*:SELinuxOptions, 2 runAsUser*:int, 3 runAsNonRoot*:bool, 4 supplementalGroups:[]int, 5 fsGroup*:int, 6 runAsGroup*:int, 7 sysctls:[]Sysctl, 9 fsGroupChangePolicy*:string, 10 seccompProfile*:SeccompProfile, 11 appArmorProfile*:AppArmorProfile",
  PodSpec:
    "1 volumes:[]Volume, 2 containers:[]Container, 3 restartPolicy:string, 4 terminationGracePeriodSeconds*:int, 5 activeDeadlineSeconds*:int, 6 dnsPolicy:string, 7 nodeSelector:{}string, 8 serviceAccountName:string, 9 serviceAccount:string, 10 nodeName:string, 11 hostNetwork:bool, 12 hostPID:bool, 13 hostIPC:bool, 14 securityContext*:PodSecurityContext, 15 imagePullSecrets:[]LocalObjectReference, 16 hostname:string, 17 subdomain:string, 18 affinity*:Affinity, 19 schedulerName:string, 20 initContainers:[]Container, 21 automountServiceAccountToken*:bool, 22 tolerations:[]Toleration, 23 hostAliases:[]HostAlias, 24 priorityClassName:string, 25 priority*:int, 26 dnsConfig*:PodDNSConfig, 27 shareProcessNamespace*:bool, 29 runtimeClassName*:string, 30 enableServiceLinks*:bool, 31 preemptionPolicy*:string, 33 topologySpreadConstraints:[]TopologySpreadConstraint",
  PodTemplateSpec: "1 metadata:ObjectMeta, 2 spec:PodSpec",
  PreferredSchedulingTerm: "1 weight:int, 2 preference:NodeSelectorTerm",
  Probe:
    "1 ^:ProbeHandler, 2 initialDelaySeconds:int, 3 timeoutSeconds:int, 4 periodSeconds:int, 5 successThreshold:int, 6 failureThreshold:int, 7 terminationGracePeriodSeconds*:int",
  ProbeHandler:
    "1 exec*:ExecAction, 2 httpGet*:HTTPGetAction, 3 tcpSocket*:TCPSocketAction, 4 grpc*:GRPCAction",
  ProjectedVolumeSource: "1 sources:[]VolumeProjection, 2 defaultMode*:int, 3 defaultUser*:int",
  ReplicaSet: "1 metadata:ObjectMeta, 2 spec:ReplicaSetSpec",
  ReplicaSetSpec:
    "1 replicas*:int, 2 selector*:LabelSelector, 3 template:PodTemplateSpec, 4 minReadySeconds:int",
  ResourceAttributes:
    "1 namespace:string, 2 verb:string, 3 group:string, 4 version:string, 5 resource:string, 6 subresource:string, 7 name:string, 8 fieldSelector*:FieldSelectorAttributes, 9 labelSelector*:LabelSelectorAttributes",
  ResourceClaim: "1 name:string, 2 request:string",
  ResourceFieldSelector: "1 containerName:string, 2 resource:string, 3 divisor:Quantity",
  ResourceRequirements: "1 limits:{}Quantity, 2 requests:{}Quantity, 3 claims:[]ResourceClaim",
  RollingUpdateDeployment: "1 maxUnavailable*:IntOrString, 2 maxSurge*:IntOrString",
  SELinuxOptions: "1 user:string, 2 role:string, 3 type:string, 4 level:string",
  Scale: "1 metadata:ObjectMeta, 2 spec:ScaleSpec",
  ScaleSpec: "1 replicas:int",
  SeccompProfile: "1 type:string, 2 localhostProfile*:string",
  SecretEnvSource: "1 ^:LocalObjectReference, 2 optional*:bool",
  SecretKeySelector: "1 ^:LocalObjectReference, 2 key:string, 3 optional*:bool",
  SecretProjection: "1 ^:LocalObjectReference, 2 items:[]KeyToPath, 4 optional*:bool",
  SecretVolumeSource:
    "1 secretName:string, 2 items:[]KeyToPath, 3 defaultMode*:int, 4 optional*:bool",
  SecurityContext:
    "1 capabilities*:Capabilities, 2 privileged*:bool, 3 seLinuxOptions*:SELinuxOptions, 4 runAsUser*:int, 5 runAsNonRoot*:bool, 6 readOnlyRootFilesystem*:bool, 7 allowPrivilegeEscalation*:bool, 8 runAsGroup*:int, 9 procMount*:string, 11 seccompProfile*:SeccompProfile, 12 appArmorProfile*:AppArmorProfile",
  SelfSubjectAccessReview: "1 metadata:ObjectMeta, 2 spec:SelfSubjectAccessReviewSpec",
  SelfSubjectAccessReviewSpec:
    "1 resourceAttributes*:ResourceAttributes, 2 nonResourceAttributes*:NonResourceAttributes",
  SelfSubjectReview: "1 metadata:ObjectMeta",
  Service: "1 metadata:ObjectMeta, 2 spec:ServiceSpec",
  ServiceAccountTokenProjection:
    "1 audience:string, 2 expirationSeconds*:int, 3 path:string, 4 user*:int",
  ServiceBackendPort: "1 name:string, 2 number:int",
  ServicePort:
    "1 name:string, 2 protocol:string, 3 port:int, 4 targetPort:IntOrString, 5 nodePort:int, 6 appProtocol*:string",
  ServiceSpec:
    "1 ports:[]ServicePort, 2 selector:{}string, 3 clusterIP:string, 4 type:string, 5 externalIPs:[]string, 7 sessionAffinity:string, 8 loadBalancerIP:string, 9 loadBalancerSourceRanges:[]string, 10 externalName:string, 11 externalTrafficPolicy:string, 12 healthCheckNodePort:int, 13 publishNotReadyAddresses:bool, 14 sessionAffinityConfig*:SessionAffinityConfig, 17 ipFamilyPolicy*:string, 18 clusterIPs:[]string, 19 ipFamilies:[]string, 20 allocateLoadBalancerNodePorts*:bool, 21 loadBalancerClass*:string, 22 internalTrafficPolicy*:string, 23 trafficDistribution*:string",
  SessionAffinityConfig: "1 clientIP*:ClientIPConfig",
  SleepAction: "1 seconds:int",
  Sysctl: "1 name:string, 2 value:string",
  TCPSocketAction: "1 port:IntOrString, 2 host:string",
  Taint: "1 key:string, 2 value:string, 3 effect:string, 4 timeAdded*:Time",
  Toleration:
    "1 key:string, 2 operator:string, 3 value:string, 4 effect:string, 5 tolerationSeconds*:int",
  TopologySpreadConstraint:
    "1 maxSkew:int, 2 topologyKey:string, 3 whenUnsatisfiable:string, 4 labelSelector*:LabelSelector, 5 minDomains*:int, 6 nodeAffinityPolicy*:string, 7 nodeTaintsPolicy*:string, 8 matchLabelKeys:[]string",
  TypedLocalObjectReference: "1 apiGroup*:string, 2 kind:string, 3 name:string",
  Volume: "1 name:string, 2 ^:VolumeSource",
  VolumeMount:
    "1 name:string, 2 readOnly:bool, 3 mountPath:string, 4 subPath:string, 5 mountPropagation*:string, 6 subPathExpr:string, 7 recursiveReadOnly*:string",
  VolumeProjection:
    "1 secret*:SecretProjection, 2 downwardAPI*:DownwardAPIProjection, 3 configMap*:ConfigMapProjection, 4 serviceAccountToken*:ServiceAccountTokenProjection, 5 clusterTrustBundle*:ClusterTrustBundleProjection, 6 podCertificate*:PodCertificateProjection",
  VolumeSource:
    "1 hostPath*:HostPathVolumeSource, 2 emptyDir*:EmptyDirVolumeSource, 6 secret*:SecretVolumeSource, 10 persistentVolumeClaim*:PersistentVolumeClaimVolumeSource, 16 downwardAPI*:DownwardAPIVolumeSource, 19 configMap*:ConfigMapVolumeSource, 26 projected*:ProjectedVolumeSource",
  WeightedPodAffinityTerm: "1 weight:int, 2 podAffinityTerm:PodAffinityTerm",
};
