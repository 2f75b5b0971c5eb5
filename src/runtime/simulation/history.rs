//! A history: several lives of a pinflow on one lake, one after the other, now and then two at once.

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::check::{self, Verdict};
use super::oracle::answers;
use super::process::{Life, Settings, Surroundings, begin};
use super::records::{Partition, partitions};
use super::scheduler::Scheduler;
use super::source::{Offsets, SOURCE_FAILED};
use super::store::{Door, Rates, STORE_FAILED, Storage};
use crate::lake::paths;
use crate::reclock::IntakeLimits;

/// More steps than any life takes that comes to an end.
const STEPS_MAX: u64 = 400_000;
/// What a life says that another one has taken the lake from.
const HELD: &str = "the lake is held by the writer";
/// The beginning of all histories, in milliseconds since 1970: some day of 2024.
const BEGAN_MS: i64 = 1_710_000_000_000;

/// What a history came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// A hash of all that happened, step by step.
    pub(super) trace: u64,
    pub(super) steps: u64,
    pub(super) lives: u64,
    pub(super) checkpoints: u64,
    /// Lives that were ended by a kill.
    pub(super) killed: u64,
    /// Deaths between a checkpoint and the last of its tables.
    pub(super) unfinished: u64,
    /// Lives that stopped because another one had the lake.
    pub(super) rivals: u64,
    /// How often readers looked at the live views.
    pub(super) looks: u64,
}

impl AddAssign for Told {
    fn add_assign(&mut self, other: Told) {
        self.trace ^= other.trace;
        self.steps += other.steps;
        self.lives += other.lives;
        self.checkpoints += other.checkpoints;
        self.killed += other.killed;
        self.unfinished += other.unfinished;
        self.rivals += other.rivals;
        self.looks += other.looks;
    }
}

/// Lives through the history of `seed`; says what went wrong.
pub(super) fn history(seed: u64) -> Result<Told, String> {
    History::new(seed).live()
}

struct History {
    chance: Chance,
    scheduler: Scheduler,
    storage: Arc<Storage>,
    partitions: Arc<Vec<Partition>>,
    surroundings: Surroundings,
    /// What it came to so far.
    told: Told,
    /// What happened, for people.
    story: Vec<String>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let scheduler = Scheduler::new(chance.next());
        let storage = Arc::new(Storage::new(scheduler.world().clone(), chance.fork()));
        let partitions = Arc::new(partitions(&mut chance));
        let surroundings = Surroundings {
            world: scheduler.world().clone(),
            local: scheduler.local().clone(),
            door: Door {
                storage: Arc::clone(&storage),
                home: std::thread::current().id(),
            },
            partitions: Arc::clone(&partitions),
            zero: Instant::now(),
        };
        History {
            chance,
            scheduler,
            storage,
            partitions,
            surroundings,
            told: Told::default(),
            story: Vec::new(),
        }
    }

    fn live(&mut self) -> Result<Told, String> {
        let told = self.all_lives();
        told.map_err(|why| {
            let checkpoints = self.storage.checkpoints().into_iter();
            let checkpoints = checkpoints
                .map(|(path, bytes)| format!("{path}: {}", String::from_utf8_lossy(&bytes)));
            let story: Vec<String> = self.story.drain(..).chain(checkpoints).collect();
            format!("{why}\n {}", story.join("\n "))
        })
    }

    fn all_lives(&mut self) -> Result<Told, String> {
        for _ in 0..self.chance.below(5) {
            self.troubled_life()?;
        }
        let mut tries = 0;
        while !self.last_life()? {
            tries += 1;
            if tries > 3 {
                return Err("no life comes to its end although nothing fails any more".to_owned());
            }
        }
        self.scheduler.note(self.told.looks);
        Ok(Told {
            trace: self.scheduler.trace(),
            steps: self.scheduler.steps(),
            checkpoints: self.storage.checkpoints().len() as u64,
            ..self.told
        })
    }

    fn settings(&mut self) -> Settings {
        let chance = &mut self.chance;
        Settings {
            workers: 1 + chance.below(3) as usize,
            tick: Duration::from_millis(1 + chance.below(40)),
            commit_every: Duration::from_millis(5 + chance.below(100)),
            limits: IntakeLimits {
                chunk_bytes: 1 << 10,
                epoch_bytes: 50 + chance.below(2000),
                budget_bytes: 200 + chance.below(4000),
            },
            bounded: true,
            source_fails: 0,
            sleepy: 2 + chance.below(20),
            run_id: chance.next(),
            began_ms: BEGAN_MS + chance.below(20_000) as i64 - 10_000,
        }
    }

    fn begin(&mut self, settings: Settings) -> Life {
        self.told.lives += 1;
        let chance = self.chance.fork();
        self.tell(format!("life {} begins: {settings:?}", self.told.lives));
        begin(
            &self.surroundings,
            self.told.lives as usize,
            settings,
            chance,
        )
    }

    fn tell(&mut self, what: String) {
        let (step, now) = (self.scheduler.steps(), self.scheduler.world().now());
        self.story.push(format!("step {step} at {now:?}: {what}"));
    }

    fn rates(&mut self) -> Rates {
        let chance = &mut self.chance;
        let mut rate = || {
            if chance.below(2) == 0 {
                0
            } else {
                3 + chance.below(60)
            }
        };
        Rates {
            refused: rate(),
            answer_lost: rate(),
            late: rate(),
            cut: rate(),
            slowest: 1 + self.chance.below(40),
        }
    }

    /// A life in which things fail, and which is killed if it does not end before.
    fn troubled_life(&mut self) -> Verdict {
        let rates = self.rates();
        self.storage.set_rates(rates);
        self.tell(format!("{rates:?}"));
        let settings = Settings {
            bounded: self.chance.once_in(2),
            source_fails: if self.chance.once_in(5) { 200 } else { 0 },
            ..self.settings()
        };
        let life = self.begin(settings);
        // Many die early: in the middle of a recovery there is the most to go wrong.
        let magnitude = self.chance.below(12);
        let death = self.chance.below(1 << magnitude);
        let event = self.chance.below(death + 1);
        self.steps(event, &[&life])?;
        match self.chance.below(8) {
            0 => self
                .storage
                .go_away(Duration::from_millis(self.chance.below(3000))),
            1 => self
                .storage
                .fill_up(Duration::from_millis(self.chance.below(3000))),
            2 => life.outcome.stop(),
            3 => self.second_life(&life)?,
            _ => {}
        }
        self.steps(death - event, &[&life])?;
        self.judge(&life)?;
        self.tell(format!(
            "life {} ends or dies: {:?}",
            life.process,
            life.outcome.failure()
        ));
        self.scheduler.kill(life.process);
        self.told.killed += u64::from(!life.ended());
        let seen = check::lake(&self.storage, &self.partitions)?;
        self.told.unfinished += u64::from(seen.behind > 0);
        Ok(())
    }

    /// Another pinflow begins on the same lake, while the first is stopped or goes on.
    fn second_life(&mut self, first: &Life) -> Verdict {
        let settings = self.settings();
        let freezes = self.chance.once_in(2);
        let second = self.begin(settings);
        if freezes {
            self.scheduler.freeze(Some(first.process));
            let asleep = self.chance.below(2000);
            self.steps(asleep, &[&second])?;
            self.scheduler.freeze(None);
        }
        let both = self.chance.below(2000);
        self.steps(both, &[first, &second])?;
        let failures = (first.outcome.failure(), second.outcome.failure());
        self.tell(format!("two lives at once: {failures:?}"));
        self.judge(&second)?;
        self.scheduler.kill(second.process);
        Ok(())
    }

    /// A life in which nothing fails any more. It must come to the end of all records, unless a
    /// request of one that died before it took its place.
    fn last_life(&mut self) -> Result<bool, String> {
        self.storage.set_rates(Rates {
            slowest: 5,
            ..Rates::default()
        });
        self.storage.go_away(Duration::ZERO);
        self.storage.fill_up(Duration::ZERO);
        let settings = self.settings();
        let life = self.begin(settings);
        self.steps(STEPS_MAX, &[&life])?;
        if !life.ended() {
            return Err(format!("life {} does not come to its end", life.process));
        }
        self.judge(&life)?;
        let failure = life.outcome.failure();
        self.scheduler.kill(life.process);
        let check::Seen { last, behind } = check::lake(&self.storage, &self.partitions)?;
        if failure.is_some() {
            return Ok(false);
        }
        let ends = self
            .partitions
            .iter()
            .filter(|p| !p.records.is_empty())
            .map(|p| {
                let stream = super::records::STREAMS[p.stream];
                let key = crate::source::position_key(stream, &p.name);
                (key, p.records.len() as u64)
            });
        let ends: Offsets = ends.collect();
        let read = last.as_ref().map(|last| check::offsets(&last.positions));
        if read.clone().unwrap_or_default() != ends {
            return Err(format!("all was read, but what is committed is {read:?}"));
        }
        if behind > 0 {
            return Err(format!(
                "{behind} tables are behind the last checkpoint in the end"
            ));
        }
        self.look(&life, true)?;
        Ok(true)
    }

    /// So many steps, or fewer if all of these lives have ended.
    fn steps(&mut self, steps: u64, lives: &[&Life]) -> Verdict {
        for _ in 0..steps {
            if lives.iter().all(|life| life.ended()) {
                break;
            }
            if !self.scheduler.step() {
                return Err("nothing moves any more".to_owned());
            }
            if self.chance.once_in(256) {
                for life in lives {
                    self.look(life, false)?;
                }
            }
        }
        Ok(())
    }

    /// What a reader sees of a life: every view at one epoch, and exactly what was read until then.
    fn look(&mut self, life: &Life, at_end: bool) -> Verdict {
        let Some((store, first, began)) = life.store() else {
            return Ok(());
        };
        let cut = store.cut();
        if cut.epoch < first || cut.epoch == 0 {
            return if at_end && !self.partitions.iter().all(|p| p.records.is_empty()) {
                Err(format!("the views are at epoch {} in the end", cut.epoch))
            } else {
                Ok(())
            };
        }
        self.told.looks += 1;
        let expected = answers(&self.partitions, &life.claims.at(cut.epoch, began));
        for view in &cut.views {
            let path = match &*view.name {
                paths::DEAD_LETTERS => paths::DEAD_LETTERS.to_owned(),
                name => paths::view(name),
            };
            let rows = check::texts(&view.rows(), &path);
            check::same(
                &format!("the view {}", view.name),
                cut.epoch,
                rows,
                &expected[path.as_str()],
            )?;
        }
        Ok(())
    }

    /// A life may end badly for a reason that it was given, and for no other.
    fn judge(&mut self, life: &Life) -> Verdict {
        let Some(why) = life.outcome.failure() else {
            return Ok(());
        };
        self.told.rivals += u64::from(why.contains(HELD));
        let given = [SOURCE_FAILED, STORE_FAILED, HELD];
        if given.iter().any(|given| why.contains(given)) {
            return Ok(());
        }
        Err(format!("life {} failed: {why}", life.process))
    }
}

/// What checks a history must itself be able to fail.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::simulation::records::Said;

    #[test]
    fn a_lost_file_and_a_record_too_many_are_noticed() {
        let mut history = History::new(1);
        history.live().expect("it goes well");
        let last = check::lake(&history.storage, &history.partitions).expect("it is right");
        let last = last.last.expect("it has records");

        let mut others = history.partitions.as_ref().clone();
        let records = others
            .iter_mut()
            .flat_map(|partition| &mut partition.records);
        let last_row = records
            .filter(|record| matches!(record.said, Said::Row { .. }))
            .last();
        last_row.expect("it has rows").said = Said::Broken("another".to_owned());
        let wrong = check::lake(&history.storage, &others).expect_err("the records are others");
        assert!(
            wrong.contains("too many") && wrong.contains("missing"),
            "{wrong}"
        );

        let files = last.tables.iter().flat_map(|(table, change)| {
            let files = change.adds.iter();
            files.map(move |file| format!("lake/{table}/{}", file.path))
        });
        let file = files.last().expect("the last checkpoint adds files");
        history.storage.lose(&file);
        let wrong = check::lake(&history.storage, &history.partitions).expect_err("it is gone");
        assert!(wrong.contains("which is missing"), "{wrong}");
    }
}
