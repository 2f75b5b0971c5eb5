//! What a log entry is to the only writer of its table: its own, harmless, or someone else's.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::APP_ID;
use crate::lake::date;

/// What a log entry is to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It holds this checkpoint, which added these files.
    Ours(u64, BTreeSet<String>),
    /// It replaces files by others with the same rows. Who did that, and when.
    Rearranged(String),
    /// It is someone else's. Who did what, and when.
    Foreign(String),
}

/// What was done by the log entry with these bytes; `None` if it changes neither rows nor schema.
pub(super) fn judge(entry: &[u8]) -> Option<Entry> {
    /// The parts of actions that matter here.
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Part {
        app_id: String,
        version: Option<i64>,
        path: String,
        data_change: Option<bool>,
        operation: Option<String>,
        engine_info: Option<String>,
        client_version: Option<String>,
        timestamp: Option<i64>,
    }
    let (mut by, mut ours) = (Part::default(), None);
    let (mut adds, mut changes, mut rearranges) = (BTreeSet::new(), false, true);
    for line in entry.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let Ok(actions) = serde_json::from_slice::<BTreeMap<String, Part>>(line) else {
            return Some(Entry::Foreign("a log entry that is not one".to_string()));
        };
        for (name, part) in actions {
            match name.as_str() {
                "txn" if part.app_id == APP_ID => ours = part.version.map(|n| n.max(0) as u64),
                "txn" => {}
                "commitInfo" => by = part,
                "add" | "remove" => {
                    changes = true;
                    rearranges &= part.data_change == Some(false);
                    if name == "add" {
                        adds.insert(part.path);
                    }
                }
                _ => (changes, rearranges) = (true, false),
            }
        }
    }
    if let Some(number) = ours {
        return Some(Entry::Ours(number, adds));
    }
    if !changes {
        return None;
    }
    let mut who = format!("by {}", by.operation.as_deref().unwrap_or("someone"));
    if let Some(program) = by.engine_info.or(by.client_version) {
        who += &format!(" of {program}");
    }
    if let Some(at) = by.timestamp {
        who += &format!(", at {}", date(at));
    }
    Some(match rearranges {
        true => Entry::Rearranged(who),
        false => Entry::Foreign(who),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_judged_by_what_they_do() {
        let ours = br#"{"commitInfo":{}}
{"txn":{"appId":"pinflow","version":7}}
{"add":{"path":"a","dataChange":true}}"#;
        let vacuum = br#"{"commitInfo":{"operation":"VACUUM END"}}
"#;
        let optimize = br#"{"commitInfo":{"operation":"OPTIMIZE"}}
{"remove":{}}
{"add":{}}"#;
        let compact = br#"{"commitInfo":{"operation":"OPTIMIZE","engineInfo":"x:1","timestamp":1795270250944}}
{"remove":{"path":"a","dataChange":false}}
{"add":{"path":"b","dataChange":false}}"#;
        let files = BTreeSet::from(["a".to_string()]);
        assert_eq!(judge(ours), Some(Entry::Ours(7, files)));
        assert_eq!(judge(vacuum), None);
        let who = "by OPTIMIZE of x:1, at 2026-11-21T14:10:50.944Z".to_string();
        assert_eq!(judge(compact), Some(Entry::Rearranged(who)));
        let optimized = Entry::Foreign("by OPTIMIZE".to_string());
        assert_eq!(judge(optimize), Some(optimized));
        let torn = Entry::Foreign("a log entry that is not one".to_string());
        assert_eq!(judge(b"\x00"), Some(torn));
    }
}
