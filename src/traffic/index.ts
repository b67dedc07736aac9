/** Requests from outside and between nodes to pods: one compiled table, a built-in engine. */
export { compile, type CompileInput } from "./routes/compile.ts";
export { createMatcher, type RouteMatcher } from "./routes/match.ts";
export type {
  Backend,
  HostRules,
  MeshAddress,
  PathRule,
  RouteEndpoint,
  RouteTable,
} from "./routes/table.ts";
export type { ListenAddress, ProxyIdentity, ProxyLimits } from "./protocol.ts";
export {
  startTraffic,
  type Traffic,
  type TrafficDependencies,
  type TrafficOptions,
} from "./traffic.ts";
