export {
  startControllers,
  type Controllers,
  type ControllersDeps,
  type ControllersOptions,
} from "./controllers.ts";
export type { Drivers, Tolerance, Verdicts } from "./ports.ts";
export { defaultDrivers } from "./scheduler/drivers.ts";
export { lifecycleDefaults, type LifecycleOptions } from "./node-lifecycle/plan.ts";
export { evictionsHeldCondition, flappingCondition } from "./node-lifecycle/node-plan.ts";
export { phasesAnnotation } from "./node-lifecycle/teller.ts";
export { displacedCondition } from "./objects.ts";
