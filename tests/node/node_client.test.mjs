// The Node client against a real nestor-server on a unix socket.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { NestorClient } from './nestor.mjs';

const MACHINE = 'projects/demo/virtualMachines/web-1';
const DEADLINE_MS = 60_000;

let directory;
let address;
let server;
let client;

async function startServer() {
  server = spawn(
    process.env.NESTOR_SERVER_PROGRAM,
    ['--data-dir', `${directory}/data`, '--listen', address, '--insecure']
      .concat(['--agent-listen', `unix:${directory}/agents`, '--log-level', 'error']),
    { stdio: 'inherit' },
  );
  await untilItAnswers();
}

async function stopServer(signal) {
  const exit = once(server, 'exit');
  server.kill(signal);
  await exit;
}

async function untilItAnswers() {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    try {
      return await client.call('hosts', 'listHosts', {});
    } catch (error) {
      assert.equal(error.code, 'UNAVAILABLE');
      assert.ok(Date.now() < end, 'the server does not answer');
      await sleep(20);
    }
  }
}

// The command line's output, as a person would see it.
async function run(...command) {
  const result = await promisify(execFile)(
    process.execPath,
    ['client.mjs', '--server', address, ...command],
  ).catch((error) => error);
  return { code: result.code ?? 0, out: result.stdout, error: result.stderr };
}

function newBinding(number) {
  return {
    name: `${MACHINE}/pasidBindings/many-${String(number).padStart(3, '0')}`,
    spec: {
      device: '0000:01:00.0',
      pasid: 100 + number,
      pageTable: { format: 'FORMAT_VTD_S1', root: String(4096 * number), addressWidth: 48 },
    },
  };
}

// Creates it exactly once, however often the server dies meanwhile; its revision.
async function createBinding(number) {
  const request = { pasidBinding: newBinding(number), requestId: randomUUID() };
  for (;;) {
    try {
      const reply = await client.call('pasidBindings', 'createPasidBinding', request);
      return reply.metadata.revision;
    } catch (error) {
      if (error.code !== 'UNAVAILABLE') throw error;
      await sleep(20);
    }
  }
}

async function until(condition) {
  const end = Date.now() + DEADLINE_MS;
  while (!condition()) {
    assert.ok(Date.now() < end, `in time: ${condition}`);
    await sleep(10);
  }
}

// Collects the names and revisions of the bindings that a watch tells of.
class Watcher {
  seen = [];
  synced = 0;
  #abort = new AbortController();
  #done;

  constructor() {
    this.#done = this.#follow();
  }
  async #follow() {
    const watching = client.watch({
      kinds: ['KIND_PASID_BINDING'],
      parent: MACHINE,
      signal: this.#abort.signal,
    });
    for await (const { type, resource } of watching) {
      if (type === 'SYNCED') this.synced += 1;
      if (resource) this.seen.push(`${type} ${resource.name} ${resource.metadata.revision}`);
    }
  }
  async stop() {
    this.#abort.abort();
    await this.#done;
  }
}

before(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'nestor-node-'));
  address = `unix:${directory}/api`;
  client = new NestorClient(address);
  await startServer();
  const applied = await run('apply', 'fleet.json');
  assert.equal(applied.code, 0, applied.error);
});

after(async () => {
  client.close();
  if (server.exitCode === null && server.signalCode === null) await stopServer('SIGKILL');
  await rm(directory, { recursive: true });
});

test('apply makes it so, and a second time changes nothing', async () => {
  const again = await run('apply', 'fleet.json');
  assert.match(again.out, /web-1: 0 created, 0 updated, 0 deleted, 3 unchanged/);
  const manifest = JSON.parse(await readFile('fleet.json', 'utf8'));
  for (const wanted of manifest[1].bindings) {
    const { out } = await run('get', wanted.name);
    const { spec } = JSON.parse(out);
    assert.deepEqual(spec.pageTable, wanted.spec.pageTable);
  }
});

test('field violations are decoded', async () => {
  const pasidBinding = newBinding(1);
  pasidBinding.spec.pageTable.root = '4097';
  const creating = client.call('pasidBindings', 'createPasidBinding', { pasidBinding });
  await assert.rejects(creating, (error) => {
    assert.equal(error.code, 'INVALID_ARGUMENT');
    assert.equal(error.reason, 'FIELD_INVALID');
    assert.equal(error.details.ErrorInfo.domain, 'nestor.dev');
    const fields = error.details.BadRequest.fieldViolations.map(({ field }) => field);
    assert.deepEqual(fields, ['pasid_binding.spec.page_table.root']);
    return true;
  });
  const { code, error } = await run('get', 'projects/demo/virtualMachines/WEB');
  assert.equal(code, 1);
  assert.match(error, /^INVALID_ARGUMENT FIELD_INVALID: .*\n {2}field name: /);
});

test('precondition failures are decoded', async () => {
  const virtualMachine = {
    name: 'projects/demo/virtualMachines/db-1',
    spec: { placement: { host: 'hosts/host-a', devices: ['0000:01:00.0'] } },
  };
  const creating = client.call('virtualMachines', 'createVirtualMachine', { virtualMachine });
  await assert.rejects(creating, (error) => {
    assert.equal(error.code, 'FAILED_PRECONDITION');
    assert.equal(error.reason, 'DEVICE_IN_USE');
    const [violation] = error.details.PreconditionFailure.violations;
    assert.equal(violation.type, 'DEVICE_IN_USE');
    assert.match(violation.subject, /0000:01:00\.0/);
    assert.match(violation.description, /web-1/);
    return true;
  });
});

test('a watch misses and repeats nothing while the server is killed and started', async () => {
  const watcher = new Watcher();
  await until(() => watcher.synced === 1);
  const before = watcher.seen.length;
  assert.equal(before, 2); // of fleet.json

  const wanted = [];
  const writing = (async () => {
    for (let number = 1; number <= 60; ++number) {
      wanted.push(`PUT ${newBinding(number).name} ${await createBinding(number)}`);
    }
  })();
  for (const number of [15, 30, 45]) {
    await until(() => watcher.seen.length - before >= number);
    await stopServer('SIGKILL');
    await startServer();
  }
  await writing;
  await until(() => watcher.seen.length - before >= wanted.length);
  assert.deepEqual(watcher.seen.slice(before), wanted);

  // What one more change brings is that change alone.
  await client.call('pasidBindings', 'deletePasidBinding', { name: newBinding(60).name });
  await until(() => watcher.seen.length - before > wanted.length);
  assert.match(watcher.seen.at(-1), /many-060/);
  await watcher.stop();
});

test('a server that stops ends a busy watch with UNAVAILABLE', async () => {
  let events = 0;
  let ended = false;
  const watching = (async () => {
    for await (const event of client.watchOnce({ kinds: ['KIND_PASID_BINDING'] })) {
      events += event.type === 'PUT' ? 1 : 0;
    }
  })().finally(() => (ended = true));
  const failure = assert.rejects(watching, { code: 'UNAVAILABLE', reason: 'UNAVAILABLE' });
  const writing = (async () => {
    for (let number = 61; !ended; ++number) await createBinding(number);
  })();
  await until(() => events > 100);
  await stopServer('SIGTERM');
  await failure;
  await startServer();
  await writing;
});
