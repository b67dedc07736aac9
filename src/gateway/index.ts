/** The applications' listener: identity, limits and a drain in front of other rooms' routes. */
export {
  createGateway,
  type Gateway,
  type GatewayDependencies,
  type GatewayOptions,
} from "./gateway.ts";
export type { GatewayLimits, Subject } from "./limits.ts";
