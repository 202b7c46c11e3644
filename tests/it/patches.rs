//! Our patches against fast-json-patch and rfc6902 in Node, on generated cases.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};
use statehouse::json::{Json, JsonLimits, JsonPatch, PatchError, PatchErrorKind};

use crate::node::{available, folder};

const CASES: usize = 4_000;

/// Choices that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, choices: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % choices
    }

    fn key(&mut self) -> &'static str {
        ["a", "b", "c", "", "~", "/", "0", "1", "ключ"][self.below(9)]
    }

    /// A value of numbers that JavaScript has.
    fn value(&mut self, levels: usize) -> Value {
        match self.below(if levels == 0 { 6 } else { 9 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 1),
            2 | 3 => json!(self.below(3)),
            4 => json!(-0.5),
            5 => json!(["", "x", "🙂"][self.below(3)]),
            6 | 7 => (0..self.below(4)).map(|_| self.value(levels - 1)).collect(),
            _ => {
                let members = (0..self.below(4)).map(|_| (self.key(), self.value(levels - 1)));
                members.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into()
            }
        }
    }

    /// A pointer to something in a value, or to where something could be, or to nothing.
    fn place(&mut self, now: &Value) -> String {
        let (mut at, mut path) = (Some(now), String::new());
        for _ in 0..self.below(4) {
            let segment = match at {
                _ if self.below(24) == 0 => ["-", "01", "x"][self.below(3)].to_owned(),
                Some(Value::Array(items)) => self.below(items.len() + 2).to_string(),
                Some(Value::Object(members)) if !members.is_empty() && self.below(4) != 0 => {
                    members.keys().nth(self.below(members.len())).unwrap().clone()
                }
                _ => self.key().to_owned(),
            };
            path = format!("{path}/{}", segment.replace('~', "~0").replace('/', "~1"));
            at = now.pointer(&path);
        }
        path
    }

    fn operation(&mut self, now: &Value) -> Value {
        let path = self.place(now);
        match self.below(8) {
            0 | 1 => json!({"op": "add", "path": path, "value": self.value(2)}),
            2 => json!({"op": "remove", "path": path}),
            3 => json!({"op": "replace", "path": path, "value": self.value(2)}),
            4 => json!({"op": "move", "from": self.place(now), "path": path}),
            5 => json!({"op": "copy", "from": self.place(now), "path": path}),
            6 => json!({"op": "test", "path": path, "value": now.pointer(&path)}),
            _ => json!({"op": "test", "path": path, "value": self.value(1)}),
        }
    }
}

/// What we make of a patch.
fn apply(doc: &Value, patch: &Value) -> Result<Value, PatchError> {
    let patch = JsonPatch::from_json(&Json::from(patch.clone()))?;
    let applied = patch.apply(&Json::from(doc.clone()), &JsonLimits::default())?;
    Ok(Value::from(&applied.json))
}

/// A value and a patch of which most operations can be applied, with what comes of it.
fn case(dice: &mut Dice) -> Value {
    let doc = dice.value(3);
    let (mut now, mut ops) = (doc.clone(), Vec::new());
    for _ in 0..=dice.below(6) {
        let op = dice.operation(&now);
        match apply(&now, &json!([op])) {
            Ok(next) => now = next,
            // Both libraries move and copy to indices that an array cannot have.
            Err(error) if error.kind == PatchErrorKind::BadIndex => continue,
            Err(_) if dice.below(8) != 0 => continue,
            Err(_) => {}
        }
        ops.push(op);
    }
    let patch = Value::Array(ops);
    match apply(&doc, &patch) {
        Ok(expected) => json!({"doc": doc, "patch": patch, "expected": expected}),
        Err(_) => json!({"doc": doc, "patch": patch}),
    }
}

#[test]
fn patches_do_what_they_do_elsewhere() {
    if !available("patches.mjs") {
        return;
    }
    let mut node = Command::new("node")
        .current_dir(folder())
        .arg("patches.mjs")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut dice = Dice(6902);
    let mut stdin = node.stdin.take().unwrap();
    for _ in 0..CASES {
        writeln!(stdin, "{}", case(&mut dice)).unwrap();
    }
    drop(stdin);
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    let disagreements = facts["disagreements"].as_array().unwrap();
    let few: Vec<_> = disagreements.iter().take(5).collect();
    assert!(few.is_empty(), "{} of them: {few:#?}", disagreements.len());
    assert_eq!(facts["cases"], CASES);
    assert!(facts["applied"].as_u64() > Some(1_000) && facts["refused"].as_u64() > Some(300));
}
