import { etcdContract } from "../support/etcd-contract.ts";

etcdContract("etcd of three members", { subnet: "127.0.32", members: 3 });
