//! A history: several lives of a pinflow on one lake, one after the other, now and then two at
//! once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::check::{self, Checker, DEAD_LETTERS, Seen, Verdict};
use super::drawn::{Common, Death};
use super::oracle::answers;
use super::process::{Life, Settings, Surroundings, begin, key};
use super::records::{Partition, partitions};
use super::scheduler::{ProcessId, Scheduler};
use super::source::{Offsets, SOURCE_FAILED};
use super::store::{Door, Rates, STORE_FAILED, Storage};
use super::told::Told;
use crate::lake::paths;

/// More steps than any life takes that comes to an end.
const STEPS_MAX: u64 = 400_000;
/// Steps after which a life dies that does not come where it was to die.
const PATIENCE: u64 = 3_000;
/// After so many steps in which nothing was read and nothing happened in the store, nothing will.
const STILL: u64 = 120;
/// The beginning of all histories, in milliseconds since 1970: some day of 2024.
pub(super) const BEGAN_MS: i64 = 1_710_000_000_000;

/// What a life says that another one has taken the lake from.
const HELD: &str = "the lake is held by the writer";
/// What a life may say that another one writes the lake of, while lists are old.
const CONFUSED: [&str; 1] = ["that folder was removed or restored"];
/// What a run says that is asked to stop while a put has no answer.
const NO_ANSWER: &str = "after the run was asked to stop";
/// What processes of a cluster say when they cannot go on together.
const APART: [&str; 2] = [
    "ended early, so this one ended too",
    "start the cluster again",
];

/// Lives through the history of `seed`; says what went wrong.
pub(super) fn history(seed: u64) -> Result<Told, String> {
    History::new(seed).live()
}

struct History {
    chance: Chance,
    common: Common,
    scheduler: Scheduler,
    storage: Arc<Storage>,
    partitions: Arc<Vec<Partition>>,
    surroundings: Surroundings,
    checker: Checker,
    /// Whether a second life writes the lake, or did until just now.
    has_rival: bool,
    /// Whether a checkpoint of an earlier life was still on its way when this one began.
    is_overtaken: bool,
    /// How many processes there were so far.
    processes: ProcessId,
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
        let common = Common::draw(&mut chance);
        let partitions = Arc::new(partitions(&mut chance, common.days));
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
            common,
            scheduler,
            storage,
            checker: Checker::new(Arc::clone(&partitions)),
            partitions,
            surroundings,
            has_rival: false,
            is_overtaken: false,
            processes: 0,
            told: Told::default(),
            story: vec![format!("{common:?}")],
        }
    }

    fn live(&mut self) -> Result<Told, String> {
        let told = self.all_lives();
        told.map_err(|why| {
            let checkpoints = self.storage.checkpoints(0).into_iter();
            let checkpoints = checkpoints
                .map(|(path, bytes)| format!("{path}: {}", String::from_utf8_lossy(&bytes)));
            let story: Vec<String> = self.story.drain(..).chain(checkpoints).collect();
            format!("{why}\n {}", story.join("\n "))
        })
    }

    fn all_lives(&mut self) -> Result<Told, String> {
        let untroubled = self.chance.once_in(8);
        let troubled = u64::from(!untroubled) * (1 + self.chance.small(4));
        for _ in 0..u64::from(self.common.days) + troubled {
            self.troubled_life()?;
        }
        let mut tries = 0;
        while !self.last_life()? {
            tries += 1;
            if tries > 3 {
                return Err("no life comes to its end although nothing fails any more".to_owned());
            }
        }
        if self.chance.once_in(4) {
            self.idle_life()?;
        }
        self.scheduler.note(self.told.looks);
        Ok(Told {
            trace: self.scheduler.trace(),
            steps: self.scheduler.steps(),
            checkpoints: self.storage.checkpoints(0).len() as u64,
            expired: self.storage.expired(),
            ..self.told
        })
    }

    fn begin(&mut self, settings: &Settings) -> Life {
        self.told.lives += 1;
        self.told.clusters += u64::from(settings.processes > 1);
        self.told.archives += u64::from(settings.archive.is_some());
        if self.common.days {
            let hours = self.chance.below(40);
            self.scheduler
                .world()
                .skip(Duration::from_secs(hours * 3600));
        }
        let chance = self.chance.fork();
        let first = self.processes;
        self.processes += settings.processes;
        self.has_rival = false;
        self.is_overtaken = self.storage.is_checkpoint_under_way();
        self.tell(format!("life {} begins: {settings:?}", self.told.lives));
        begin(&self.surroundings, first, settings, chance)
    }

    fn tell(&mut self, what: String) {
        let (step, now) = (self.scheduler.steps(), self.scheduler.world().now());
        self.story.push(format!("step {step} at {now:?}: {what}"));
    }

    /// A life in which things fail, and which is killed if it does not end before.
    fn troubled_life(&mut self) -> Verdict {
        let rates = Rates::draw(&mut self.chance);
        self.storage.set_rates(rates);
        self.tell(format!("{rates:?}"));
        let settings = Settings {
            bounded: self.chance.once_in(2),
            source_fails: if self.chance.once_in(5) { 200 } else { 0 },
            ..self.common.settings(&mut self.chance)
        };
        let life = self.begin(&settings);
        let death = self.common.death(&mut self.chance);
        self.tell(format!("{death:?}"));
        let (_, sent) = self.storage.progress();
        let longest = match death {
            Death::AtStep(step) => step,
            Death::InCommit { .. } => 300,
        };
        let event = self.chance.below(longest + 1);
        self.steps(event, &[&life])?;
        match self.chance.below(9) {
            0 => self
                .storage
                .go_away(Duration::from_millis(self.chance.below(3000))),
            1 => self
                .storage
                .fill_up(Duration::from_millis(self.chance.below(3000))),
            2 => life.stop(),
            // An object of the archive that grows is put again under its name, also by one that
            // should not (ARCHITECTURE.md).
            3 if settings.archive.is_none() => self.second_life(&life)?,
            4 | 5 if settings.processes > 1 => self.lose_one(&life)?,
            6 if settings.processes > 1 => self.freeze_one(&life)?,
            _ => {}
        }
        match death {
            Death::AtStep(step) => self.steps(step - event, &[&life])?,
            Death::InCommit {
                commit,
                operations,
                steps,
            } => {
                let sent = sent + commit;
                self.steps_until(PATIENCE, &life, |storage| storage.progress().1 >= sent)?;
                let until = self.storage.progress().0 + operations;
                self.steps_until(PATIENCE, &life, |storage| storage.progress().0 >= until)?;
                self.steps(steps, &[&life])?;
            }
        }
        self.judge(&life, rates)?;
        let failures = life.failures();
        self.tell(format!(
            "life {} ends or dies: {failures:?}",
            self.told.lives
        ));
        self.kill(&life);
        let killed = !life.ended();
        let seen = self.check(false)?;
        self.told.killed += u64::from(killed);
        self.told.unfinished += u64::from(killed && seen.behind > 0);
        Ok(())
    }

    fn kill(&mut self, life: &Life) {
        for id in life.ids() {
            self.scheduler.kill(id);
        }
    }

    /// Everything that is in the store is right. In the end (`exactly`) there is nothing else.
    fn check(&mut self, exactly: bool) -> Result<Seen, String> {
        let seen = self.checker.lake(&self.storage)?;
        if self.common.archive {
            let committed = seen.last.as_ref().map(check::Sealed::offsets);
            let committed = committed.unwrap_or_default();
            check::archive(&self.storage, &self.partitions, &committed, exactly)?;
        }
        Ok(seen)
    }

    /// Another pinflow begins on the same lake, while the first is stopped or goes on.
    fn second_life(&mut self, first: &Life) -> Verdict {
        let settings = self.common.settings(&mut self.chance);
        let freezes = self.chance.once_in(2);
        let second = self.begin(&settings);
        self.has_rival = true;
        if freezes {
            self.scheduler.freeze(first.ids());
            let asleep = self.chance.below(2000);
            self.steps(asleep, &[&second])?;
            self.scheduler.freeze(Vec::new());
        }
        let both = self.chance.below(2000);
        self.steps(both, &[first, &second])?;
        let failures = (first.failures(), second.failures());
        self.tell(format!("two lives at once: {failures:?}"));
        self.judge(
            &second,
            Rates {
                stale: 1,
                ..Rates::default()
            },
        )?;
        self.kill(&second);
        Ok(())
    }

    /// One process of a cluster dies. Half of the time it is seen that the others end.
    fn lose_one(&mut self, life: &Life) -> Verdict {
        let number = self.chance.below(life.processes.len() as u64) as usize;
        if life.processes[number].ended() {
            return Ok(());
        }
        self.tell(format!("process {number} dies"));
        self.told.bereft += 1;
        self.scheduler.kill(life.processes[number].id);
        life.mourn(number);
        if self.chance.once_in(2) {
            self.steps(STEPS_MAX, &[life])?;
            if !life.ended() {
                return Err(format!("process {number} died, and the others do not end"));
            }
        }
        Ok(())
    }

    /// One process of a cluster stands still for a while.
    fn freeze_one(&mut self, life: &Life) -> Verdict {
        let number = self.chance.below(life.processes.len() as u64) as usize;
        self.tell(format!("process {number} sleeps"));
        self.scheduler.freeze(vec![life.processes[number].id]);
        let asleep = self.chance.below(600);
        // Nothing may move while it sleeps.
        for _ in 0..asleep {
            if life.ended() || !self.scheduler.step() {
                break;
            }
        }
        self.scheduler.freeze(Vec::new());
        Ok(())
    }

    /// Nothing fails from now on.
    fn calm(&mut self) {
        self.storage.set_rates(Rates {
            slowest: 5,
            ..Rates::default()
        });
        self.storage.go_away(Duration::ZERO);
        self.storage.fill_up(Duration::ZERO);
    }

    /// A life to its end.
    fn whole_life(&mut self) -> Result<Life, String> {
        self.calm();
        let settings = self.common.settings(&mut self.chance);
        let life = self.begin(&settings);
        self.steps(STEPS_MAX, &[&life])?;
        if !life.ended() {
            return Err(format!("life {} does not come to its end", self.told.lives));
        }
        self.judge(&life, Rates::default())?;
        self.kill(&life);
        Ok(life)
    }

    /// A life in which nothing fails any more. It must come to the end of all records, unless a
    /// request of one that died before it took its place.
    fn last_life(&mut self) -> Result<bool, String> {
        let life = self.whole_life()?;
        if !life.failures().is_empty() {
            self.check(false)?;
            return Ok(false);
        }
        let Seen { last, behind } = self.check(true)?;
        let read = last.as_ref().map(check::Sealed::offsets);
        if read.clone().unwrap_or_default() != self.ends() {
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

    /// A life that finds nothing to do: it shows what the last one showed, and commits nothing.
    fn idle_life(&mut self) -> Verdict {
        let before = self.storage.checkpoints(0).len();
        let life = self.whole_life()?;
        if let Some(why) = life.failures().first() {
            return Err(format!("a life with nothing to do failed: {why}"));
        }
        self.check(true)?;
        if self.storage.checkpoints(0).len() != before {
            return Err("a life with nothing to do committed".to_owned());
        }
        self.look(&life, true)
    }

    /// The ends of all partitions that have any record.
    fn ends(&self) -> Offsets {
        let partitions = self.partitions.iter();
        let partitions = partitions.filter(|partition| !partition.records.is_empty());
        partitions
            .map(|partition| (key(partition), partition.records.len() as u64))
            .collect()
    }

    /// So many steps, or fewer if all of these lives have ended.
    fn steps(&mut self, steps: u64, lives: &[&Life]) -> Verdict {
        for _ in 0..steps {
            if lives.iter().all(|life| life.ended()) {
                break;
            }
            self.step(lives)?;
        }
        Ok(())
    }

    /// Steps until something holds of the store, at most so many, or fewer if the life has ended or
    /// waits for nothing but its death.
    fn steps_until(&mut self, most: u64, life: &Life, holds: impl Fn(&Storage) -> bool) -> Verdict {
        let (mut seen, mut still) = (0, 0);
        for _ in 0..most {
            let happened = life.claims.count() + self.storage.progress().0;
            still = if happened == seen { still + 1 } else { 0 };
            seen = happened;
            if life.ended() || holds(&self.storage) || still == STILL {
                break;
            }
            self.step(&[life])?;
        }
        Ok(())
    }

    fn step(&mut self, lives: &[&Life]) -> Verdict {
        if !self.scheduler.step() {
            return Err("nothing moves any more".to_owned());
        }
        if self.chance.once_in(128) {
            for life in lives {
                self.look(life, false)?;
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
        let offsets = life.claims.at(cut.epoch, began);
        let expected = answers(&self.partitions, &offsets);
        for view in &cut.views {
            let path = match &*view.name {
                DEAD_LETTERS => DEAD_LETTERS.to_owned(),
                name => paths::view(name),
            };
            let rows = check::texts(&view.rows(), &path);
            let what = format!("the view {}", view.name);
            let seen = check::same(&what, cut.epoch, rows, &expected[path.as_str()]);
            if let Err(wrong) = seen {
                let failures = life.failures();
                self.tell(format!(
                    "a reader looks; {offsets:?} since epoch {first}, {failures:?}"
                ));
                return Err(wrong);
            }
        }
        Ok(())
    }

    /// A life may end badly for a reason that it was given, and for no other.
    fn judge(&mut self, life: &Life, rates: Rates) -> Verdict {
        let failures = life.failures();
        let held = failures.iter().filter(|why| why.contains(HELD));
        let is_own = |why: &String| life.processes.iter().any(|p| why.contains(&p.writer));
        let (held, by_itself) = (held.clone().count() > 0, held.clone().any(is_own));
        self.told.rivals += u64::from(held);
        let mut given = vec![SOURCE_FAILED, STORE_FAILED];
        // A lake that was listed as it was some time ago is opened behind its last checkpoint.
        let is_late = self.is_overtaken || rates.stale > 0;
        if self.has_rival || is_late && !by_itself {
            given.push(HELD);
        }
        if rates.late > 0 {
            given.push(NO_ANSWER);
        }
        if life.processes.len() > 1 {
            given.extend(APART);
        }
        if rates.stale > 0 {
            given.extend(CONFUSED);
        }
        let wrong = failures
            .into_iter()
            .find(|why| !given.iter().any(|given| why.contains(given)));
        match wrong {
            Some(why) => Err(format!("life {} failed: {why}", self.told.lives)),
            None => Ok(()),
        }
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
        let last = history.check(true).expect("it is right");
        let last = last.last.expect("it has records");

        let mut others = history.partitions.as_ref().clone();
        let records = others
            .iter_mut()
            .flat_map(|partition| &mut partition.records);
        let last_row = records
            .filter(|record| matches!(record.said, Said::Row { .. }))
            .last();
        last_row.expect("it has rows").said = Said::Broken("another".to_owned());
        let mut checker = Checker::new(Arc::new(others));
        let wrong = checker
            .lake(&history.storage)
            .expect_err("the records are others");
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
        let wrong = history.check(true).expect_err("it is gone");
        assert!(wrong.contains("which is missing"), "{wrong}");
    }
}
