//! `kinesis-local` from npm: a Kinesis server by others, as a second implementation beside the one
//! in this process.
//!
//! It is installed once, into `target/kinesis-local/`, needs Node.js and npm, listens on a free
//! port of this machine, and stops when its value is dropped. Where it cannot run,
//! [`KinesisLocal::start`] says why.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::port::free_port;

/// The version that is installed.
const PACKAGE: &str = "kinesis-local@0.6.2";

const READY_WITHIN: Duration = Duration::from_secs(120);

static INSTALLING: Mutex<()> = Mutex::new(());

/// A running server.
pub struct KinesisLocal {
    /// `http://127.0.0.1:<port>`.
    pub endpoint: String,
    child: Child,
}

impl KinesisLocal {
    /// Installs it if it is not, starts it, and waits until it answers. The error says what is
    /// missing.
    pub fn start() -> Result<Self, String> {
        let package = install()?;
        let (port, tls_port) = (free_port(), free_port());
        let mut command = Command::new("node");
        command
            .arg("main.js")
            .current_dir(&package)
            .env("KINESIS_MOCK_PLAIN_PORT", port.to_string())
            .env("KINESIS_MOCK_TLS_PORT", tls_port.to_string())
            .env("KINESIS_MOCK_CERT_PATH", package.join("server.json"))
            .env("SHARD_LIMIT", "200")
            .env("LOG_LEVEL", "ERROR")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for operation in [
            "CREATE_STREAM",
            "DELETE_STREAM",
            "MERGE_SHARDS",
            "SPLIT_SHARD",
            "REGISTER_STREAM_CONSUMER",
        ] {
            command.env(format!("{operation}_DURATION"), "50ms");
        }
        let child = command
            .spawn()
            .map_err(|error| format!("node cannot be started: {error}"))?;
        let mut server = KinesisLocal {
            endpoint: format!("http://127.0.0.1:{port}"),
            child,
        };
        let begun = Instant::now();
        while !answers(port) {
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(format!("{PACKAGE} ended at once: {status}"));
            }
            if begun.elapsed() > READY_WITHIN {
                return Err(format!("{PACKAGE} did not answer within {READY_WITHIN:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for KinesisLocal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder of the installed package.
fn install() -> Result<PathBuf, String> {
    let _one = INSTALLING
        .lock()
        .map_err(|_| "another test failed to install it".to_owned())?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kinesis-local");
    let package = folder.join("node_modules/kinesis-local");
    if package.join("main.js").is_file() && package.join("server.json").is_file() {
        return Ok(package);
    }
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    let output = Command::new("npm")
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--no-save",
            "--prefix",
        ])
        .arg(&folder)
        .arg(PACKAGE)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("npm cannot be started: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("npm cannot install {PACKAGE}: {}", said.trim()));
    }
    Ok(package)
}

/// Whether the server answers a request, whatever it says.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<usize> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(
            b"GET /healthcheck HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )?;
        stream.read(&mut [0; 16])
    };
    ask().is_ok_and(|bytes| bytes > 0)
}
