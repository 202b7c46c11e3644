// Patches, one case a line, against two libraries that other people wrote. What is expected both
// must come to. What is refused (`expected` is missing) at least one must refuse: fast-json-patch
// lets an edit beneath a number or a text do nothing.

import { createInterface } from "node:readline";
import { inspect, isDeepStrictEqual } from "node:util";
import jsonpatch from "fast-json-patch";
import { applyPatch } from "rfc6902";

// rfc6902 patches in place and cannot put another root in the place of one, so the value stands in
// a holder. A root that is removed is null, which the RFC leaves open.
function held(op) {
  const within = (pointer) => `/root${pointer}`;
  if (op.op === "remove" && op.path === "") {
    return { op: "replace", path: within(""), value: null };
  }
  const from = "from" in op ? { from: within(op.from) } : {};
  return { ...op, path: within(op.path), ...from };
}

// What a library makes of a patch; undefined if it refuses.
const libraries = {
  "fast-json-patch": (doc, patch) => {
    try {
      return jsonpatch.applyPatch(doc, patch, true).newDocument;
    } catch {
      return undefined;
    }
  },
  rfc6902: (doc, patch) => {
    const holder = { root: doc };
    try {
      const refused = applyPatch(holder, patch.map(held)).some((error) => error !== null);
      return refused ? undefined : holder.root;
    } catch {
      return undefined;
    }
  },
};

const facts = { cases: 0, applied: 0, refused: 0, disagreements: [] };
for await (const line of createInterface({ input: process.stdin })) {
  const { doc, patch, expected } = JSON.parse(line);
  const found = Object.entries(libraries).map(([name, apply]) => [
    name,
    apply(structuredClone(doc), structuredClone(patch)),
  ]);
  const strange = found.filter(([, value]) => !isDeepStrictEqual(value, expected));
  const refused = expected === undefined;
  facts.cases += 1;
  facts[refused ? "refused" : "applied"] += 1;
  if (strange.length > (refused ? 1 : 0)) {
    // What was found may be something that JSON has no text for.
    facts.disagreements.push({ doc, patch, expected, found: inspect(strange) });
  }
}
console.log(JSON.stringify(facts));
