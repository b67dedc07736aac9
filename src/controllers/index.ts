export {
  startControllers,
  type Controllers,
  type ControllersDeps,
  type ControllersOptions,
} from "./controllers.ts";
export type { Drivers, Verdicts } from "./ports.ts";
export { defaultDrivers } from "./scheduler/drivers.ts";
export { lifecycleDefaults, type LifecycleOptions } from "./node-lifecycle/plan.ts";
export { displacedCondition } from "./objects.ts";
