export { hubBackups } from "./paths/backup-path.ts";
export { hubConfigKeys, hubConfigSchema, type HubConfig } from "./config.ts";
export { runHub } from "./hub.ts";
export { runningHub, startHub, stopHub, type HubInfo } from "./launch.ts";
export { examineHubConfig } from "./preflight.ts";
export { migrateHub, type HubMigration } from "./migrate.ts";
