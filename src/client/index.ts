export { createCluster, type Cluster, type ClusterOptions } from "./cluster.ts";
export {
  applyExample,
  applyStream,
  exampleApplication,
  exampleStream,
  type ExampleOptions,
} from "./example.ts";
