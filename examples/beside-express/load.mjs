// 1,000 logged-in clients with carts go on shopping while their routes move from Express to Hallpass and back.
// Run with: node examples/beside-express/load.mjs [CLIENTS] [SECONDS a phase]
// Each client has two tabs: one puts things into the cart and looks whether all of them are there, the other only reads.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const [clients = 1000, seconds = 10] = process.argv.slice(2).map(Number);
const PASSWORD = 'correct horse battery staple';
const THINK = 5000; // milliseconds at most between two requests of a tab

const run = spawn('./run', { cwd: import.meta.dirname, env: { ...process.env, BCRYPT_COST: '4' }, stdio: ['ignore', 'pipe', 'inherit'] });
const [ready] = await once(createInterface({ input: run.stdout }), 'line');
const [, site, folder] = ready.split(' ');
const agent = new http.Agent({ keepAlive: true, maxSockets: 512 });

const seen = { requests: 0, express: 0, hallpass: 0, errors: 0, loggedOut: 0, wrongCarts: 0, retried: 0 };
const problems = [];
let slowest = 0;

/** One request. nginx closes connections when it reloads, also those it has not read a byte from yet. */
function send(client, method, path, body, over = agent) {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', ...(client.cookie && { cookie: client.cookie }) };
    let answered = false;
    const request = http.request(`${site}${path}`, { method, agent: over, headers }, (response) => {
      answered = true;
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part) => { text += part; });
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
      response.on('error', reject);
    });
    request.on('error', (error) => reject(Object.assign(error, { unread: error.code === 'ECONNRESET' && !answered })));
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

async function ask(client, method, path, body) {
  const began = performance.now();
  seen.requests += 1;
  let answer;
  try {
    answer = await send(client, method, path, body).catch((error) => {
      // Send again what was not answered, as browsers do. Had it been read after all, a cart would hold one pear too many.
      if (!error.unread) throw error;
      seen.retried += 1;
      return send(client, method, path, body, false);
    });
  } catch (error) {
    seen.errors += 1;
    problems.push(`${method} ${path}: ${error.code ?? error.message}`);
    return {};
  }
  slowest = Math.max(slowest, performance.now() - began);
  const [cookie] = answer.headers['set-cookie'] ?? [];
  if (cookie) client.cookie = cookie.split(';')[0];
  const by = answer.headers['x-served-by'];
  if (by) seen[by] += 1;
  if (answer.status === 401) seen.loggedOut += 1;
  else if (answer.status >= 400) seen.errors += 1;
  if (answer.status >= 400) problems.push(`${method} ${path} at ${by}: ${answer.status} ${answer.text.slice(0, 80)}`);
  return answer.status < 400 ? JSON.parse(answer.text) : {};
}

let over = false;
const think = () => sleep(Math.random() * THINK);

async function shop(client) {
  while (!over) {
    const put = await ask(client, 'POST', '/cart', { item: 'pear' });
    if (put.cart) client.pears += 1;
    await think();
    const { cart } = await ask(client, 'GET', '/cart');
    if (cart && cart.pear !== client.pears) {
      seen.wrongCarts += 1;
      problems.push(`a cart holds ${cart.pear} pears, not ${client.pears}`);
      client.pears = cart.pear;
    }
    await think();
  }
}

async function read(client) {
  while (!over) {
    await think();
    const { email } = await ask(client, 'GET', '/auth/me');
    if (email && email !== client.email) problems.push(`${client.email} is ${email}`);
    await think();
    await ask(client, 'GET', '/account');
  }
}

/** Changes lines of nginx, and reloads it. */
function move(paths, to) {
  const lines = readFileSync(`${folder}/routes.conf`, 'utf8').split('\n');
  const moved = lines.map((line) => (paths.some((path) => line.startsWith(`location ${path} `)) ? line.replace(/http:\/\/\w+/, `http://${to}`) : line));
  writeFileSync(`${folder}/routes.conf`, moved.join('\n'));
  process.kill(Number(readFileSync(`${folder}/nginx.pid`, 'utf8')), 'SIGHUP');
}

const people = Array.from({ length: clients }, (_, number) => ({ email: `client${number}@example.com`, pears: 0 }));
const waiting = [...people];
await Promise.all(Array.from({ length: 32 }, async () => {
  for (let client = waiting.pop(); client; client = waiting.pop()) {
    await ask(client, 'POST', '/auth/register', { email: client.email, password: PASSWORD });
  }
}));
console.log(`${clients} clients are logged in at Express`);

const tabs = people.flatMap((client) => [shop(client), read(client)]);
let before = { ...seen };
async function phase(name) {
  await sleep(seconds * 1000);
  const part = Object.keys(seen).map((key) => [key, seen[key] - before[key]]);
  console.log(`${name}: ${part.map(([key, count]) => `${key} ${count}`).join(', ')}`);
  before = { ...seen };
}
await phase('all on Express but /account');
move(['/cart'], 'hallpass');
await phase('/cart moved to Hallpass');
move(['/auth/'], 'hallpass');
await phase('/auth/ moved too: all on Hallpass');
move(['/auth/', '/cart'], 'express');
await phase('all moved back');
for (let turn = 0; turn < 10; turn += 1) {
  move(['/auth/', '/cart'], turn % 2 ? 'express' : 'hallpass');
  await sleep(seconds * 100);
}
await phase('moved to and fro ten times, and on Express at last');
over = true;
await Promise.all(tabs);
const still = await Promise.all(people.map((client) => ask(client, 'GET', '/auth/me')));
console.log(`still logged in: ${still.filter(({ email }, number) => email === people[number].email).length} of ${clients}; slowest answer ${Math.round(slowest)} ms`);
console.log(`in all: ${Object.entries(seen).map(([key, count]) => `${key} ${count}`).join(', ')}`);
for (const problem of [...new Set(problems)].slice(0, 10)) console.log(`  ${problem}`);
run.kill();
agent.destroy();
process.exitCode = seen.errors + seen.loggedOut + seen.wrongCarts > 0 ? 1 : 0;
