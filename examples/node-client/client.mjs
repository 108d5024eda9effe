#!/usr/bin/env node
// A small command line over nestor.mjs.
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { NestorClient, NestorError } from './nestor.mjs';

const USAGE = `Usage: node client.mjs [--server ADDRESS] COMMAND

  apply FILE   make it so: FILE is a JSON array of Host and VirtualMachine documents, each a
               resource of the API with "kind"; a VirtualMachine has all its "bindings"
  get NAME     print one resource as JSON, by its full name
  watch [--parent NAME] [--resume TOKEN]
               print each change as a line of JSON, through the server's restarts

  --server ADDRESS  unix:PATH or HOST:PORT (default: $NESTOR_SERVER or 127.0.0.1:7440)

Exit code: 0 done, 1 the server refused or cannot be reached, 2 wrong usage.`;

async function applyHost(client, { kind, ...host }) {
  try {
    await client.call('hosts', 'createHost', { host });
    return 'created';
  } catch (error) {
    if (error.reason !== 'ALREADY_EXISTS') throw error;
  }
  const updateMask = { paths: ['metadata.labels', 'spec'] };
  await client.call('hosts', 'updateHost', { host, updateMask });
  return 'updated';
}

async function applyVirtualMachine(client, { kind, bindings = [], ...virtualMachine }) {
  const reply = await client.call('virtualMachines', 'applyVirtualMachine', {
    virtualMachine,
    pasidBindings: bindings,
  });
  const { created = 0, updated = 0, deleted = 0, unchanged = 0 } = reply;
  return `${created} created, ${updated} updated, ${deleted} deleted, ${unchanged} unchanged`;
}

const APPLY = { Host: applyHost, VirtualMachine: applyVirtualMachine };

async function apply(client, file) {
  for (const document of JSON.parse(await readFile(file, 'utf8'))) {
    const applyOne = APPLY[document.kind];
    if (!applyOne) throw new Error(`${file}: no kind "${document.kind}" can be applied`);
    console.log(`${document.name}: ${await applyOne(client, document)}`);
  }
}

function get(client, name) {
  if (/^hosts\/[^/]+$/.test(name)) return client.call('hosts', 'getHost', { name });
  if (name.startsWith('hosts/')) return client.call('hosts', 'getDevice', { name });
  if (name.includes('/pasidBindings/')) {
    return client.call('pasidBindings', 'getPasidBinding', { name });
  }
  return client.call('virtualMachines', 'getVirtualMachine', { name });
}

async function watch(client, { parent, resume }) {
  const kinds = ['KIND_HOST', 'KIND_VIRTUAL_MACHINE', 'KIND_PASID_BINDING'];
  for await (const event of client.watch({ kinds, parent, resumeToken: resume })) {
    console.log(JSON.stringify(event));
  }
}

// What is wrong, with the details that tell a program or a person what to do.
function describe(error) {
  const lines = [`${error.code}${error.reason ? ` ${error.reason}` : ''}: ${error.message}`];
  for (const { field, description } of error.details.BadRequest?.fieldViolations ?? []) {
    lines.push(`  field ${field}: ${description}`);
  }
  const failures = error.details.PreconditionFailure?.violations ?? [];
  for (const { type, subject, description } of failures) {
    lines.push(`  ${type} ${subject}: ${description}`);
  }
  return lines.join('\n');
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      server: { type: 'string', default: process.env.NESTOR_SERVER ?? '127.0.0.1:7440' },
      parent: { type: 'string', default: '' },
      resume: { type: 'string', default: '' },
      help: { type: 'boolean', default: false },
    },
  });
  const [command, argument] = positionals;
  if (values.help) return console.log(USAGE);
  const wants = { apply: 2, get: 2, watch: 1 }[command];
  if (wants !== positionals.length) throw new TypeError('wrong command or arguments');
  const client = new NestorClient(values.server);
  try {
    if (command === 'apply') await apply(client, argument);
    if (command === 'get') console.log(JSON.stringify(await get(client, argument), null, 2));
    if (command === 'watch') await watch(client, values);
  } finally {
    client.close();
  }
}

main().catch((error) => {
  const wrongUsage = error instanceof TypeError;
  console.error(error instanceof NestorError ? describe(error) : error.message);
  if (wrongUsage) console.error(USAGE);
  process.exitCode = wrongUsage ? 2 : 1;
});
