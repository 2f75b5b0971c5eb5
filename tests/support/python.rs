//! Clients in Python: a virtual environment for each set of packages, `target/python-<packages>`,
//! made at the first run.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// DuckDB, and a reader of Delta tables.
pub const ENGINES: [&str; 3] = ["duckdb==2.0.0", "deltalake==1.6.6", "pyarrow==26.0.1"];

/// Two tests that want the same packages must not install them into each other.
static INSTALLING: Mutex<()> = Mutex::new(());

/// The interpreter of an environment in which these packages of PyPI are installed, or why there
/// can be none.
pub fn python_with(packages: &[&str]) -> Result<PathBuf, String> {
    let _alone = INSTALLING.lock().map_err(|error| error.to_string())?;
    let name = format!("target/python-{}", packages.join("-"));
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let python = home.join("bin/python");
    // Written last: what an interrupted installation left behind is not taken for a whole one.
    let whole = home.join("installed");
    if !whole.is_file() {
        let make = ["-m".as_ref(), "venv".as_ref(), home.as_os_str()];
        complete(Command::new("python3").args(make))?;
        let install = ["-m", "pip", "install", "--quiet"].map(OsStr::new);
        let packages = packages.iter().map(OsStr::new);
        complete(Command::new(&python).args(install.into_iter().chain(packages)))?;
        std::fs::write(&whole, "").map_err(|error| error.to_string())?;
    }
    Ok(python)
}

/// What a program writes to stdout until it ends well, or what went wrong.
pub fn complete(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().display().to_string();
    match command.output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(error) => Err(format!("{program} cannot be started: {error}")),
    }
}
