/**
 * The part of etcd's public API that the ledger uses: package `etcdserverpb` (and `mvccpb`) of
 * etcd 3.4, whose field numbers 3.5 and 3.6 keep. https://etcd.io/docs/v3.4/dev-guide/api_reference_v3/
 */
import {
  field,
  message,
  repeated,
  type Fields,
  type Input,
  type Message,
  type Output,
  type OutputOf,
} from "./wire.ts";

export const header = message({
  clusterId: field(1, "id"),
  memberId: field(2, "id"),
  revision: field(3, "count"),
  raftTerm: field(4, "count"),
});
export type Header = OutputOf<typeof header>;

export const keyValue = message({
  key: field(1, "bytes"),
  createRevision: field(2, "count"),
  modRevision: field(3, "count"),
  version: field(4, "count"),
  value: field(5, "bytes"),
  lease: field(6, "leaseId"),
});
export type WireKeyValue = OutputOf<typeof keyValue>;

export const rangeRequest = message({
  key: field(1, "bytes"),
  rangeEnd: field(2, "bytes"),
  limit: field(3, "count"),
  revision: field(4, "count"),
  serializable: field(7, "bool"),
});
export const rangeResponse = message({
  header: field(1, header),
  kvs: repeated(2, keyValue),
  more: field(3, "bool"),
});

export const putRequest = message({
  key: field(1, "bytes"),
  value: field(2, "bytes"),
  lease: field(3, "leaseId"),
});
export const deleteRangeRequest = message({ key: field(1, "bytes") });

export const compareEqual = 0;
export const compareGreater = 1;
export const targetVersion = 0;
export const targetModRevision = 2;
/** `version` and `modRevision` are a oneof: give the one that `target` names. */
export const compare = message({
  result: field(1, "uint32"),
  target: field(2, "uint32"),
  key: field(3, "bytes"),
  version: field(4, "count"),
  modRevision: field(6, "count"),
});

/** A transaction may stand inside another one; that one is encoded before. */
const nestedTransaction = message({});
/** A oneof. */
export const requestOp = message({
  range: field(1, rangeRequest),
  put: field(2, putRequest),
  deleteRange: field(3, deleteRangeRequest),
  transaction: field(4, nestedTransaction),
});
export const txnRequest = message({
  compare: repeated(1, compare),
  success: repeated(2, requestOp),
  failure: repeated(3, requestOp),
});
const rangeOrDeletion = {
  range: field(1, rangeResponse),
  deleteRange: field(3, message({ deleted: field(2, "count") })),
};
/** Of a transaction inside another one; none of ours stands deeper. */
const nestedResponse = message({
  succeeded: field(2, "bool"),
  responses: repeated(3, message(rangeOrDeletion)),
});
const responseOp = message({ ...rangeOrDeletion, transaction: field(4, nestedResponse) });
export const txnResponse = message({
  header: field(1, header),
  succeeded: field(2, "bool"),
  responses: repeated(3, responseOp),
});

/** `physical`: answered when the pages are free, not when it is decided. */
export const compactionRequest = message({
  revision: field(1, "count"),
  physical: field(2, "bool"),
});
export const headerResponse = message({ header: field(1, header) });

export const watchRequest = message({
  create: field(
    1,
    message({
      key: field(1, "bytes"),
      rangeEnd: field(2, "bytes"),
      startRevision: field(3, "count"),
      progressNotify: field(4, "bool"),
      previous: field(6, "bool"),
      fragment: field(8, "bool"),
    }),
  ),
});
export const eventPut = 0;
export const event = message({
  type: field(1, "uint32"),
  keyValue: field(2, keyValue),
  previous: field(3, keyValue),
});
export type WireEvent = OutputOf<typeof event>;
export const watchResponse = message({
  header: field(1, header),
  created: field(3, "bool"),
  canceled: field(4, "bool"),
  compactRevision: field(5, "count"),
  cancelReason: field(6, "string"),
  fragment: field(7, "bool"),
  events: repeated(11, event),
});

export const leaseGrantRequest = message({ ttl: field(1, "count"), id: field(2, "leaseId") });
export const leaseGrantResponse = message({
  header: field(1, header),
  id: field(2, "leaseId"),
  ttl: field(3, "count"),
});
export const leaseRequest = message({ id: field(1, "leaseId") });
export const leaseTimeToLiveResponse = message({
  header: field(1, header),
  id: field(2, "leaseId"),
  /** Seconds; -1: there is none. */
  ttl: field(3, "count"),
  grantedTtl: field(4, "count"),
});

export const member = message({
  id: field(1, "id"),
  name: field(2, "string"),
  peerUrls: repeated(3, "string"),
  clientUrls: repeated(4, "string"),
  isLearner: field(5, "bool"),
});
export const memberAddRequest = message({
  peerUrls: repeated(1, "string"),
  isLearner: field(2, "bool"),
});
export const memberAddResponse = message({ header: field(1, header), member: field(2, member) });
export const memberRequest = message({ id: field(1, "id") });
export const memberUpdateRequest = message({
  id: field(1, "id"),
  peerUrls: repeated(2, "string"),
});
/** `linearizable` is of 3.5 and later; 3.4 skips it. */
export const memberListRequest = message({ linearizable: field(1, "bool") });
export const membersResponse = message({ header: field(1, header), members: repeated(2, member) });

export const alarmGet = 0;
export const alarmDeactivate = 2;
export const alarmNoSpace = 1;
export const alarmCorrupt = 2;
export const alarmRequest = message({
  action: field(1, "uint32"),
  memberId: field(2, "id"),
  alarm: field(3, "uint32"),
});
export const alarmResponse = message({
  header: field(1, header),
  alarms: repeated(2, message({ memberId: field(1, "id"), alarm: field(2, "uint32") })),
});
export const empty = message({});
export const statusResponse = message({
  header: field(1, header),
  version: field(2, "string"),
  dbSize: field(3, "count"),
  leader: field(4, "id"),
  raftIndex: field(5, "count"),
  raftTerm: field(6, "count"),
  raftAppliedIndex: field(7, "count"),
  errors: repeated(8, "string"),
  dbSizeInUse: field(9, "count"),
  isLearner: field(10, "bool"),
});
export const hashKvRequest = message({ revision: field(1, "count") });
export const hashKvResponse = message({
  header: field(1, header),
  hash: field(2, "uint32"),
  compactRevision: field(3, "count"),
});
export const snapshotResponse = message({
  remainingBytes: field(2, "count"),
  blob: field(3, "bytes"),
});
export const moveLeaderRequest = message({ targetId: field(1, "id") });

/** A method of the API: its path and what goes there and back. */
export type Method<Request, Response> = {
  readonly path: string;
  readonly encode: (request: Request) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => Response;
};

const method = <I extends Fields, O extends Fields>(
  path: string,
  request: Message<I>,
  response: Message<O>,
): Method<Input<I>, Output<O>> => ({
  path: `/etcdserverpb.${path}`,
  encode: request.encode,
  decode: response.decode,
});

export const range = method("KV/Range", rangeRequest, rangeResponse);
export const deleteRange = method("KV/DeleteRange", deleteRangeRequest, headerResponse);
export const txn = method("KV/Txn", txnRequest, txnResponse);
export const compact = method("KV/Compact", compactionRequest, headerResponse);
export const watch = method("Watch/Watch", watchRequest, watchResponse);
export const leaseGrant = method("Lease/LeaseGrant", leaseGrantRequest, leaseGrantResponse);
export const leaseRevoke = method("Lease/LeaseRevoke", leaseRequest, headerResponse);
export const leaseKeepAlive = method("Lease/LeaseKeepAlive", leaseRequest, leaseGrantResponse);
export const leaseTimeToLive = method(
  "Lease/LeaseTimeToLive",
  leaseRequest,
  leaseTimeToLiveResponse,
);
export const memberAdd = method("Cluster/MemberAdd", memberAddRequest, memberAddResponse);
export const memberRemove = method("Cluster/MemberRemove", memberRequest, membersResponse);
export const memberUpdate = method("Cluster/MemberUpdate", memberUpdateRequest, membersResponse);
export const memberList = method("Cluster/MemberList", memberListRequest, membersResponse);
export const memberPromote = method("Cluster/MemberPromote", memberRequest, membersResponse);
export const alarm = method("Maintenance/Alarm", alarmRequest, alarmResponse);
export const status = method("Maintenance/Status", empty, statusResponse);
export const defragment = method("Maintenance/Defragment", empty, headerResponse);
export const hashKv = method("Maintenance/HashKV", hashKvRequest, hashKvResponse);
export const snapshot = method("Maintenance/Snapshot", empty, snapshotResponse);
export const moveLeader = method("Maintenance/MoveLeader", moveLeaderRequest, headerResponse);
