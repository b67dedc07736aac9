export { isJournal, journalLine } from "./journal.ts";
export {
  installService,
  renderService,
  servicePaths,
  systemdBooted,
  uninstallService,
  type RunCommand,
  type Service,
  type ServiceDeps,
  type ServicePlace,
} from "./service.ts";
