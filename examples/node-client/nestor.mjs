// A client of Nestor's API: connecting, errors with their details, and a watch that survives
// the server's restarts.
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';

const PROTOS = process.env.NESTOR_PROTOS ?? fileURLToPath(new URL('../../api', import.meta.url));

// Fields are named as in the API's JSON form (pageTable), enumeration values by name, and
// 64-bit numbers are decimal strings: a page table's root does not fit into a double.
const definition = protoLoader.loadSync(
  [
    'nestor/v1/host_service.proto',
    'nestor/v1/virtual_machine_service.proto',
    'nestor/v1/pasid_binding_service.proto',
    'nestor/v1/watch_service.proto',
    'google/rpc/status.proto',
    'google/rpc/error_details.proto',
  ],
  { includeDirs: [PROTOS], longs: String, enums: String, bytes: Buffer, oneofs: true },
);
const { nestor } = grpc.loadPackageDefinition(definition);

// Most retries of a lost connection wait that long.
const LONGEST_BACKOFF_MS = 5000;

// An error of the API. `code` is the name of the gRPC code, `reason` one of docs/errors.md,
// `details` the messages of google.rpc that came with it, by type: {BadRequest: {...}, ...}.
export class NestorError extends Error {
  constructor(error) {
    super(error.details || error.message);
    this.name = 'NestorError';
    // gRPC's own server ends a call with CANCELLED that reaches it while it stops. A call that
    // this client cancelled itself is told of to nobody.
    const stopped = error.code === grpc.status.CANCELLED;
    this.code = stopped ? 'UNAVAILABLE' : (grpc.status[error.code] ?? 'UNKNOWN');
    this.details = decodeDetails(error.metadata);
    this.reason = this.details.ErrorInfo?.reason ?? '';
  }
}

// What the trailer grpc-status-details-bin, a google.rpc.Status, holds.
function decodeDetails(metadata) {
  const details = {};
  const [bytes] = metadata?.get('grpc-status-details-bin') ?? [];
  if (!bytes) return details;
  const status = definition['google.rpc.Status'].deserialize(bytes);
  for (const { type_url: url, typeUrl, value } of status.details ?? []) {
    const type = (typeUrl ?? url).split('/').pop();
    const message = definition[type];
    if (message) details[type.split('.').pop()] = message.deserialize(value);
  }
  return details;
}

// The four services at one address, each method taking a request and returning a promise.
export class NestorClient {
  // `address`: unix:PATH or HOST:PORT. `credentials`: of grpc-js; plaintext where absent.
  constructor(address, credentials = grpc.credentials.createInsecure()) {
    const options = { 'grpc.max_reconnect_backoff_ms': LONGEST_BACKOFF_MS };
    const { HostService, VirtualMachineService, PasidBindingService, WatchService } = nestor.v1;
    this.hosts = new HostService(address, credentials, options);
    this.virtualMachines = new VirtualMachineService(address, credentials, options);
    this.pasidBindings = new PasidBindingService(address, credentials, options);
    this.watches = new WatchService(address, credentials, options);
  }

  close() {
    for (const stub of [this.hosts, this.virtualMachines, this.pasidBindings, this.watches]) {
      stub.close();
    }
  }

  // One unary call, e.g. call('hosts', 'getHost', {name}). NestorError where it fails.
  call(service, method, request, { timeoutMs = 10_000 } = {}) {
    return new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + timeoutMs };
      this[service][method](request, options, (error, reply) =>
        error ? reject(new NestorError(error)) : resolve(reply),
      );
    });
  }

  // The events of Watch, without end: {type: PUT, DELETED or SYNCED, kind, resource,
  // resumeToken}. A lost connection is made anew and continues after the last event. Where the
  // server no longer has the history from there on, it sends a new snapshot, of which only what
  // is new is passed on: no change of a resource is missed or told twice, but several may come
  // as one, and the revision of a deletion is then unknown. `signal` (an AbortSignal) ends it; what waiting cannot mend is a NestorError.
  async *watch({ kinds, parent = '', resumeToken = '', signal }) {
    const known = new Known();
    let backoffMs = 100;
    while (!signal?.aborted) {
      try {
        for await (const event of this.watchOnce({ kinds, parent, resumeToken, signal })) {
          backoffMs = 100;
          // Unset within a snapshot: one that is cut off begins anew.
          if (event.resumeToken) resumeToken = event.resumeToken;
          yield* known.news(event);
        }
      } catch (error) {
        if (signal?.aborted) return;
        if (error.reason === 'REVISION_COMPACTED') {
          resumeToken = '';
          continue;
        }
        if (error.code !== 'UNAVAILABLE') throw error;
      }
      known.forgetSnapshot();
      await sleep(backoffMs, undefined, { signal }).catch(() => {});
      backoffMs = Math.min(2 * backoffMs, LONGEST_BACKOFF_MS);
    }
  }

  // One Watch call, to its end.
  async *watchOnce({ kinds, parent, resumeToken, signal }) {
    const stream = this.watches.watch({ kinds, parent, resumeToken });
    const cancel = () => stream.cancel();
    signal?.addEventListener('abort', cancel);
    try {
      for await (const message of stream) {
        yield {
          type: message.type.replace(/^TYPE_/, ''),
          kind: message.resource ?? '',
          resource: message[message.resource],
          resumeToken: message.resumeToken ?? '',
        };
      }
    } catch (error) {
      throw new NestorError(error);
    } finally {
      signal?.removeEventListener('abort', cancel);
      stream.cancel();
    }
  }
}

// What a watch has told of each resource.
class Known {
  #resources = new Map(); // name -> {kind, uid, text}
  #snapshot = new Set(); // names in the snapshot that is coming in

  // The events that `event` means for somebody who was told all that is known.
  *news(event) {
    const { type, kind, resource } = event;
    if (type === 'PUT') {
      const text = JSON.stringify(resource);
      if (!event.resumeToken) this.#snapshot.add(resource.name);
      if (this.#resources.get(resource.name)?.text === text) return;
      this.#resources.set(resource.name, { kind, uid: resource.metadata.uid, text });
      yield event;
    } else if (type === 'DELETED') {
      if (this.#resources.delete(resource.name)) yield event;
    } else if (type === 'SYNCED') {
      for (const [name, { kind: itsKind, uid }] of this.#resources) {
        if (this.#snapshot.has(name)) continue;
        this.#resources.delete(name);
        const gone = { name, metadata: { uid } };
        yield { type: 'DELETED', kind: itsKind, resource: gone, resumeToken: '' };
      }
      this.forgetSnapshot();
      yield event;
    }
  }

  forgetSnapshot() {
    this.#snapshot.clear();
  }
}
