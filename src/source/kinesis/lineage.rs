//! Which shards may be read, and from where: decided from what was listed, what was read before,
//! and what was read to its end.
//!
//! A shard that is split or merged is closed, and its keys go on in its children. To keep the order
//! of each key, a child waits until all its parents were read to their ends:
//! ```text
//!            listed          all parents done          read to the end
//!  (unknown) ------> waiting ----------------> reading ---------------> done
//!                                                 |  at what was there when opened (bounded)
//!                                                 '------------------> resting
//! ```
//! Nothing here does I/O or knows a clock: facts go in, decisions come out.
//!
//! # Invariants
//! 1. A shard is begun at most once, and only when every parent that is listed or was ever listed
//!    is done.
//! 2. A shard that was read before goes on at its position; its children were not begun before it
//!    was done, so one with a position behind a shard without any means that the latter was left
//!    out on purpose (`start=latest`).
//! 3. What retention took away unread is told, never skipped in silence.

use std::collections::{BTreeMap, BTreeSet};

/// A shard as the server lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// Its name.
    pub id: String,
    /// The shards it continues: none, one (a split) or two (a merge).
    pub parents: Vec<String>,
    /// Whether it takes no more records.
    pub closed: bool,
}

/// What positions say of a shard that was read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was read, not to its end.
    Begun,
    /// It was read to its end.
    Ended,
    /// As `Ended`, for all streams but those that are new to this dataflow.
    EndedForSome,
}

/// Where to begin a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Where the address says that one begins.
    Start,
    /// With its first record: it continues shards that were read.
    Beginning,
    /// Where its positions say.
    Position,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Read this shard.
    Begin {
        /// The shard.
        shard: String,
        /// Where.
        from: From,
        /// Whether it was closed already, so that it must be read to its end.
        closed: bool,
    },
    /// Records of this shard are gone.
    Lost {
        /// The shard.
        shard: String,
        /// How.
        loss: Loss,
    },
}

/// How records were lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The shard is not listed any more, and was not read to its end.
    Gone,
    /// The shard's parents came and went without being read. It is begun all the same.
    Parents(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting(From),
    Reading,
    Resting,
    Done,
}

#[derive(Debug)]
struct Node {
    parents: Vec<String>,
    closed: bool,
    state: State,
}

/// The shards of one Kinesis stream.
#[derive(Debug)]
pub struct Lineage {
    known: BTreeMap<String, Known>,
    /// Whether closed shards are left out when nothing was read yet.
    latest: bool,
    nodes: BTreeMap<String, Node>,
    listed: bool,
    /// Whether a shard was done since the last listing, so that its children may be missing.
    stale: bool,
}

impl Lineage {
    /// A stream of which `known` was read before; `latest` says that one begins with what arrives
    /// from now on.
    pub fn new(known: BTreeMap<String, Known>, latest: bool) -> Self {
        Lineage {
            known,
            latest,
            nodes: BTreeMap::new(),
            listed: false,
            stale: false,
        }
    }

    /// Takes in a complete listing.
    pub fn listed(&mut self, listing: &[Shard]) -> Vec<Decision> {
        let ids: BTreeSet<&str> = listing.iter().map(|shard| shard.id.as_str()).collect();
        let mut decisions = self.missing(&ids);
        let behind_known = self.behind_known(listing);
        for shard in listing {
            if let Some(node) = self.nodes.get_mut(&shard.id) {
                node.closed = shard.closed;
                continue;
            }
            let state = match self.known.get(&shard.id) {
                Some(Known::Ended) => State::Done,
                Some(Known::Begun | Known::EndedForSome) => State::Waiting(From::Position),
                None if behind_known.contains(shard.id.as_str()) => State::Done,
                None if self.known.is_empty() && !self.listed && self.latest && shard.closed => {
                    State::Done
                }
                None if self.known.is_empty() && !self.listed => State::Waiting(From::Start),
                None if shard.parents.is_empty() => State::Waiting(From::Start),
                None => {
                    let unseen = shard.parents.iter().filter(|parent| {
                        !ids.contains(parent.as_str())
                            && !self.nodes.contains_key(*parent)
                            && !self.known.contains_key(*parent)
                    });
                    let unseen: Vec<String> = unseen.cloned().collect();
                    if !unseen.is_empty() {
                        decisions.push(Decision::Lost {
                            shard: shard.id.clone(),
                            loss: Loss::Parents(unseen),
                        });
                    }
                    State::Waiting(From::Beginning)
                }
            };
            let node = Node {
                parents: shard.parents.clone(),
                closed: shard.closed,
                state,
            };
            self.nodes.insert(shard.id.clone(), node);
        }
        self.listed = true;
        self.stale = false;
        decisions.extend(self.begin_ready());
        decisions
    }

    /// The shard was read to its end.
    pub fn drained(&mut self, shard: &str) -> Vec<Decision> {
        if let Some(node) = self.nodes.get_mut(shard) {
            node.state = State::Done;
        }
        self.stale = true;
        self.begin_ready()
    }

    /// The shard was read as far as records were there when the source was opened, and is not read
    /// on.
    pub fn rested(&mut self, shard: &str) {
        if let Some(node) = self.nodes.get_mut(shard) {
            node.state = State::Resting;
        }
    }

    /// Whether nothing is left to read of what was there when the source was opened.
    pub fn finished(&self) -> bool {
        // What still waits has a parent that rests: it was open then, so its children came later.
        self.listed && !self.stale && self.nodes.values().all(|node| node.state != State::Reading)
    }

    /// Shards that are not listed any more although something is left to read of them.
    fn missing(&mut self, ids: &BTreeSet<&str>) -> Vec<Decision> {
        let mut gone: Vec<String> = Vec::new();
        if !self.listed {
            let begun = self
                .known
                .iter()
                .filter(|(_, known)| **known == Known::Begun);
            gone.extend(
                begun
                    .map(|(id, _)| id)
                    .filter(|id| !ids.contains(id.as_str()))
                    .cloned(),
            );
        }
        for (id, node) in &mut self.nodes {
            if matches!(node.state, State::Waiting(_)) && !ids.contains(id.as_str()) {
                node.state = State::Done;
                gone.push(id.clone());
            }
        }
        let lost = |shard| Decision::Lost {
            shard,
            loss: Loss::Gone,
        };
        gone.into_iter().map(lost).collect()
    }

    /// The listed shards that have a descendant with a position.
    fn behind_known<'a>(&self, listing: &'a [Shard]) -> BTreeSet<&'a str> {
        let parents: BTreeMap<&str, &'a [String]> = listing
            .iter()
            .map(|shard| (shard.id.as_str(), shard.parents.as_slice()))
            .collect();
        let mut behind = BTreeSet::new();
        let mut next: Vec<&str> = self.known.keys().map(String::as_str).collect();
        while let Some(id) = next.pop() {
            for parent in parents.get(id).copied().unwrap_or_default() {
                if behind.insert(parent.as_str()) {
                    next.push(parent);
                }
            }
        }
        behind
    }

    fn begin_ready(&mut self) -> Vec<Decision> {
        let done = |id: &String| {
            self.nodes
                .get(id)
                .is_none_or(|node| node.state == State::Done)
        };
        let ready = |node: &Node| match node.state {
            State::Waiting(from) if node.parents.iter().all(done) => Some(from),
            _ => None,
        };
        let begin: Vec<(String, From)> = self
            .nodes
            .iter()
            .filter_map(|(id, node)| Some((id.clone(), ready(node)?)))
            .collect();
        let mut decisions = Vec::with_capacity(begin.len());
        for (shard, from) in begin {
            if let Some(node) = self.nodes.get_mut(&shard) {
                node.state = State::Reading;
                decisions.push(Decision::Begin {
                    shard,
                    from,
                    closed: node.closed,
                });
            }
        }
        decisions
    }
}

#[cfg(test)]
mod tests;
