export { agentConfigSchema, type AgentConfig } from "./config.ts";
export { examineHost, type Finding } from "./doctor.ts";
export { followNode, startNode, stopNode } from "./launch.ts";
export { mintLocalToken, readAgentInfo, renderAccessKubeconfig, type AgentInfo } from "./local.ts";
