import { etcdContract } from "../support/etcd-contract.ts";

etcdContract("etcd", { subnet: "127.0.31", members: 1 });
