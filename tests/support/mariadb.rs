//! A MariaDB server of a test's own: in a temporary folder, on a free port, gone when dropped.
//!
//! It needs the server's programs: `apt-get install mariadb-server`. What a machine cannot do is
//! said in full; no test is skipped for it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use tempfile::TempDir;

use super::port::free_port;

/// A server that runs.
pub struct MariaDb {
    process: Child,
    /// The port it listens on, on this machine.
    pub port: u16,
    folder: TempDir,
    options: Vec<String>,
}

const DEADLINE: Duration = Duration::from_secs(120);

impl MariaDb {
    /// Starts a server with a user `root` without password and no database, and with further
    /// options of `mariadbd`.
    pub fn start(options: &[&str]) -> MariaDb {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let data = folder.path().join("data");
        let installed = Command::new(program("mariadb-install-db"))
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(as_root())
            // Servers that start at the same time take each other's temporary tables otherwise.
            .env("TMPDIR", folder.path())
            .output()
            .expect("mariadb-install-db can be run");
        assert!(
            installed.status.success(),
            "mariadb-install-db failed:\n{}{}",
            String::from_utf8_lossy(&installed.stdout),
            String::from_utf8_lossy(&installed.stderr)
        );
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let port = free_port();
        let process = run(folder.path(), port, &options);
        MariaDb {
            process,
            port,
            folder,
            options,
        }
    }

    /// Runs statements as root, and gives back what the server prints: columns parted by tabs.
    pub fn sql(&self, statements: &str) -> String {
        use std::io::Write as _;
        let mut client = Command::new(program("mariadb"))
            .args([
                "--no-defaults",
                "--batch",
                "--skip-column-names",
                "--user=root",
            ])
            .args(["--default-character-set=utf8mb4"])
            .arg(format!("--socket={}", self.socket().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client can be run");
        let mut input = client.stdin.take().expect("it was asked for");
        let text = statements.to_owned();
        let writing = std::thread::spawn(move || input.write_all(text.as_bytes()));
        let output = client.wait_with_output().expect("the client ends");
        let _ = writing.join();
        assert!(
            output.status.success(),
            "MariaDB refused the statements: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("the client speaks UTF-8")
    }

    /// Stops the server without warning, and starts it again on the same port with the same data.
    pub fn crash_and_restart(&mut self) {
        self.stop();
        self.process = run(self.folder.path(), self.port, &self.options);
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn stop(&mut self) {
        // It has nothing that would be missed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the server and waits until it says that it is ready.
fn run(folder: &Path, port: u16, options: &[String]) -> Child {
    let mut command = Command::new(program("mariadbd"));
    command
        .arg("--no-defaults")
        .arg(format!("--datadir={}", folder.join("data").display()))
        .arg(format!("--socket={}", folder.join("socket").display()))
        .arg(format!("--pid-file={}", folder.join("pid").display()))
        .arg(format!("--port={port}"))
        .args([
            "--bind-address=127.0.0.1",
            "--skip-log-bin",
            "--skip-name-resolve",
        ])
        .args([
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=0",
        ])
        .args(["--character-set-server=utf8mb4"])
        .args(options)
        .args(as_root())
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut process = command.spawn().expect("mariadbd can be run");
    let log = BufReader::new(process.stderr.take().expect("it was asked for"));
    let (lines, said) = channel();
    // Reads on after the server is ready, so that it never waits for somebody to read its log.
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    let mut log = String::new();
    loop {
        match said.recv_timeout(DEADLINE) {
            Ok(line) if line.contains("ready for connections") => return process,
            Ok(line) => log += &(line + "\n"),
            Err(why) => {
                let _ = process.kill();
                let _ = process.wait();
                panic!("mariadbd was not ready for connections ({why}); it said:\n{log}");
            }
        }
    }
}

fn program(name: &str) -> PathBuf {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"];
    let found = places.iter().map(|place| Path::new(place).join(name));
    found.into_iter().find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("`{name}` is not in {places:?}; this test runs against a real MariaDB: apt-get install mariadb-server")
    })
}

/// Root may run the server only if it says so.
fn as_root() -> Option<&'static str> {
    let me = std::fs::metadata("/proc/self").ok()?;
    use std::os::unix::fs::MetadataExt as _;
    (me.uid() == 0).then_some("--user=root")
}
