/** The applications' listener: identity, limits and a drain in front of other rooms' routes. */
export {
  createGateway,
  type Gateway,
  type GatewayDependencies,
  type GatewayLimits,
  type GatewayOptions,
  type Subject,
} from "./gateway.ts";
