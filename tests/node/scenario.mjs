// What every scenario needs. A scenario prints one line of JSON: facts, which the test judges.

import { isDeepStrictEqual } from "node:util";

const PATIENCE_MS = 20_000;

// The sockets' address of a workspace, from the server's address in the arguments.
export function workspace(name) {
  const [, , server] = process.argv;
  return `${server.replace(/^http/, "ws")}/v1/workspaces/${name}/socket`;
}

export async function until(condition, what, patienceMs = PATIENCE_MS) {
  const deadline = Date.now() + patienceMs;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export const same = isDeepStrictEqual;

// Waits until all of them show the same state, and returns it.
export async function agreement(...stores) {
  const states = () => stores.map((store) => store.state);
  const alike = (state) => state !== undefined && same(state, stores[0].state);
  const agreed = () => states().every(alike);
  await until(agreed, () => `all agree: ${JSON.stringify(states())}`);
  return structuredClone(stores[0].state);
}

// Chance that repeats (mulberry32): the test passes the seed.
export function chance(seed) {
  let a = seed >>> 0;
  const next = () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n) => Math.floor(next() * n);
  return { below, pick: (list) => list[below(list.length)] };
}

export function seed() {
  return Number(process.argv[3]);
}

export function tell(facts) {
  process.stdout.write(`${JSON.stringify(facts)}\n`, () => process.exit(0));
}
