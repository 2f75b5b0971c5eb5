//! DuckDB as a judge: an engine that shares no parser, planner or operator with pinflow.
//!
//! It runs in a Python process that lives as long as the test, and is installed from PyPI at the
//! first run.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use serde_json::Value;

use crate::support::python::{ENGINES, python_with};

/// A running DuckDB.
pub struct DuckDb {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// What the engine does at once.
#[derive(Clone, Debug)]
pub enum Step {
    /// Statements whose rows nobody wants.
    Run(String),
    /// Statements, the last of which returns the rows that are wanted. `DELTA path` returns those
    /// of a Delta table.
    Ask(String),
}

/// The rows that a step asked for, if it asked, or why there are none.
pub type Answer = Result<Option<RecordBatch>, String>;

impl DuckDb {
    /// Starts the engine; the error says why there is none on this machine.
    pub fn start() -> Result<DuckDb, String> {
        let python = python_with(&ENGINES)?;
        let mut process = Command::new(python)
            .args(["-c", include_str!("duckdb.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        Ok(DuckDb {
            process,
            stdin: stdin.expect("it is piped"),
            stdout: BufReader::new(stdout.expect("it is piped")),
        })
    }

    /// Empties the database.
    pub fn empty(&mut self) {
        self.exchange(&[]);
    }

    /// Takes the steps one after the other.
    pub fn answers(&mut self, steps: &[Step]) -> Vec<Answer> {
        match steps {
            [] => Vec::new(),
            steps => self.exchange(steps),
        }
    }

    /// Sends a line of steps, of which an empty one has a meaning of its own.
    fn exchange(&mut self, steps: &[Step]) -> Vec<Answer> {
        self.try_exchange(steps)
            .unwrap_or_else(|error| panic!("DuckDB's process does not answer: {error}"))
    }

    fn try_exchange(&mut self, steps: &[Step]) -> std::io::Result<Vec<Answer>> {
        let written = steps.iter().map(|step| match step {
            Step::Run(statements) => (false, statements),
            Step::Ask(statements) => (true, statements),
        });
        let mut line = serde_json::to_vec(&written.collect::<Vec<_>>())?;
        line.push(b'\n');
        self.stdin.write_all(&line)?;
        self.stdin.flush()?;
        let mut answers = Vec::with_capacity(steps.len());
        for _ in steps {
            let mut line = String::new();
            self.stdout.read_line(&mut line)?;
            let said: Value = serde_json::from_str(&line)?;
            let bytes = said["bytes"].as_u64().unwrap_or(0);
            let mut content = vec![0; bytes as usize];
            self.stdout.read_exact(&mut content)?;
            answers.push(match said["error"].as_str() {
                Some(error) => Err(error.to_owned()),
                None if content.is_empty() => Ok(None),
                None => read(&content).map(Some).map_err(|error| error.to_string()),
            });
        }
        Ok(answers)
    }
}

fn read(stream: &[u8]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let reader = StreamReader::try_new(stream, None)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    concat_batches(&schema, &batches)
}

impl Drop for DuckDb {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
