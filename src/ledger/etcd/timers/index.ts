export { createTimersBook, type TimerReport, type TimersBook, type WantedTimers } from "./book.ts";
export { parseSample, percentileMs, since, type Sample } from "./metrics.ts";
export {
  firstState,
  planTimers,
  sameTimers,
  timersAtStart,
  timerSteps,
  type MemberReport,
  type TimerState,
  type TimerView,
} from "./plan.ts";
export { probeFsync } from "./probe.ts";
export { startTimers, type TimedMember, type Timers, type TimersPace } from "./run.ts";
export { createWindow, type Measurement } from "./window.ts";
