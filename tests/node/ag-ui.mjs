// A reader of AG-UI: each event is held against the schemas that the protocol publishes, and the
// state that the events make against that of the store.

import * as schemas from "@ag-ui/core/schemas";
import jsonpatch from "fast-json-patch";

import { same, tell, until } from "./scenario.mjs";

const base = `${process.argv[2]}/v1/workspaces/ag-ui`;

async function put(path, value) {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify(value);
  const answer = await fetch(`${base}/stores/${path}`, { method: "PUT", headers, body });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
}

// The members that an event of a type may have.
const members = new Map(
  schemas.EventSchema.options.map((one) => [one.shape.type.value, Object.keys(one.shape)]),
);

class Reader {
  types = [];
  wrong = [];
  state = undefined;

  constructor(query) {
    this.done = this.#read(query);
  }

  async #read(query) {
    const answer = await fetch(`${base}/events?format=ag-ui&${query}`);
    let text = "";
    for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
      text += piece;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        this.#hear(text.slice(0, end).split("\n"));
        text = text.slice(end + 2);
      }
    }
  }

  #hear(lines) {
    const data = lines.find((line) => line.startsWith("data: "));
    if (data === undefined) return;
    const event = JSON.parse(data.slice(6));
    const checked = schemas.EventSchema.safeParse(event);
    const unknown = Object.keys(event).filter((key) => !members.get(event.type)?.includes(key));
    const named = lines.some((line) => line.startsWith("event: "));
    if (!checked.success || unknown.length > 0 || named) this.wrong.push({ event, unknown });
    if ((event.type === "RUN_STARTED") !== (this.types.length === 0)) this.wrong.push({ event });
    this.types.push(event.type);
    if (event.type === "STATE_SNAPSHOT") this.state = event.snapshot;
    if (event.type === "STATE_DELTA") {
      this.state = jsonpatch.applyPatch(this.state, event.delta, true, false).newDocument;
    }
  }
}

await put("a", { list: [{ id: 1 }], deep: { er: "x" } });
const whole = new Reader("stores=a");
const place = new Reader("stores=a&path=/deep/er");
const absent = new Reader("stores=a&path=/later");
const readers = [whole, place, absent];
await until(() => readers.every((reader) => reader.types.length >= 2), () => "all have a state");
const start = absent.state;

const states = [
  { list: [{ id: 0 }, { id: 1, n: null }], deep: { er: "x" } },
  { list: [], deep: { er: ["a/b", { "m~n": 1.5 }] }, later: {} },
  { deep: { er: ["a/b", { "m~n": 2 }] }, later: { is: true } },
  [1, "two"],
  { deep: { er: null }, later: "at last" },
];
for (const state of states) await put("a", state);
const last = states.at(-1);
await until(() => same(whole.state, last), () => `the end: ${JSON.stringify(whole.state)}`);
await until(() => place.state === null && absent.state === "at last", () => "the places follow");

tell({
  strange: readers.flatMap((reader) => reader.wrong),
  whole: whole.types,
  start,
  types: [...new Set(readers.flatMap((reader) => reader.types))].sort(),
});
