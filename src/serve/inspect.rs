//! `pinflow inspect`: the views of a running pinflow, in a terminal.
//!
//! A client of [`super::http`] and nothing more: whatever it prints can be had with curl too. The
//! server renders, so that all readers see the same text.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::ToSocketAddrs;
use std::time::Duration;

use url::Url;
use url::form_urlencoded::byte_serialize;

use super::client::{Fetched, fetch};
use super::format::Format;
use crate::delta::Epoch;
use crate::redact::redact;

/// A table on a screen has no use for more rows, unless they are asked for.
const TABLE_ROWS: usize = 50;

/// How long to wait for a pinflow that loads its state, before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Print the live views of a running pinflow.
#[derive(Clone, Debug, clap::Args)]
pub struct InspectArgs {
    /// The view to print; without it, the views are listed
    pub view: Option<String>,
    /// Where the running pinflow answers
    #[arg(long, value_name = "ADDRESS", default_value = "http://127.0.0.1:8080")]
    pub at: String,
    /// Print only the rows for which this SQL condition is true
    #[arg(long = "where", value_name = "CONDITION", requires = "view")]
    pub condition: Option<String>,
    /// Print at most N rows [default: 50 for a table, else all]
    #[arg(long, value_name = "N", requires = "view")]
    pub limit: Option<usize>,
    /// How to print the rows
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Print again whenever the view changes, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The address is not one.
    #[error("`{0}` is not an address: write --at http://HOST:PORT")]
    Address(String),
    /// Nobody is there.
    #[error(
        "no pinflow answers at {address}: start one with `pinflow run`, or name its address with --at ({cause})"
    )]
    NobodyThere {
        /// Where it was looked for.
        address: String,
        /// What happened instead of an answer.
        cause: io::Error,
    },
    /// It loads its state, and cannot answer yet.
    #[error("{0}; ask again in a moment")]
    Loading(String),
    /// It does not want to answer.
    #[error("{error}: {hint}")]
    Refused {
        /// What is wrong.
        error: String,
        /// What to do.
        hint: String,
    },
    /// What came is no answer of a pinflow.
    #[error("what answers at {address} is not a pinflow: it says {status} to a request for {path}")]
    NotPinflow {
        /// Where.
        address: String,
        /// The HTTP status.
        status: u16,
        /// What was asked for.
        path: String,
    },
    /// The output is closed or full.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Prints to `out` what was asked for. With `--watch` it goes on until there is no answer any more,
/// or `out` is closed; on a terminal each print takes the place of the last.
pub fn inspect(
    args: &InspectArgs,
    out: &mut dyn Write,
    is_terminal: bool,
) -> Result<(), InspectError> {
    let mut after: Option<Epoch> = None;
    loop {
        let asked = match ask(args, after) {
            Err(InspectError::Loading(progress)) if args.watch => {
                writeln!(out, "{progress}")?;
                std::thread::sleep(ASK_AGAIN);
                continue;
            }
            asked => asked?,
        };
        if let Some(answer) = asked {
            if is_terminal && args.watch {
                // Clears the screen and puts the cursor in its corner.
                out.write_all(b"\x1b[2J\x1b[H")?;
            }
            let printed = out.write_all(&answer.body).and_then(|()| out.flush());
            match printed {
                // Whoever reads has seen enough (`| head`).
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                printed => printed?,
            }
            after = Some(answer.epoch);
        }
        if !args.watch {
            return Ok(());
        }
    }
}

struct Printable {
    epoch: Epoch,
    body: Vec<u8>,
}

/// One request; none if nothing changed after the epoch for as long as the server waits.
fn ask(args: &InspectArgs, after: Option<Epoch>) -> Result<Option<Printable>, InspectError> {
    let base = match args.at.contains("://") {
        true => args.at.clone(),
        false => format!("http://{}", args.at),
    };
    let bad_address = || InspectError::Address(redact(&args.at));
    let url = Url::parse(&base).map_err(|_| bad_address())?;
    let (Some(host), "http") = (url.host_str(), url.scheme()) else {
        return Err(bad_address());
    };
    let port = url.port().unwrap_or(80);
    let path = path(args, after);
    let nobody = |cause| InspectError::NobodyThere {
        address: redact(&args.at),
        cause,
    };
    // A literal IPv6 address stands in brackets in a URL, but not among socket addresses.
    let addresses = (host.trim_matches(['[', ']']), port)
        .to_socket_addrs()
        .map_err(nobody)?;
    let addresses: Vec<_> = addresses.collect();
    let fetched = fetch(
        &addresses,
        &format!("{host}:{port}"),
        &path,
        Duration::from_secs(60),
    )
    .map_err(nobody)?;
    let not_pinflow = |fetched: &Fetched| InspectError::NotPinflow {
        address: redact(&args.at),
        status: fetched.status,
        path: path.clone(),
    };
    match fetched.status {
        304 => Ok(None),
        200 => match fetched
            .header("x-pinflow-epoch")
            .and_then(|epoch| epoch.parse().ok())
        {
            Some(epoch) => Ok(Some(Printable {
                epoch,
                body: fetched.body,
            })),
            None => Err(not_pinflow(&fetched)),
        },
        _ => {
            let body =
                serde_json::from_slice::<serde_json::Value>(&fetched.body).unwrap_or_default();
            match (body["error"].as_str(), body["hint"].as_str()) {
                (Some(progress), _) if fetched.status == 503 => {
                    Err(InspectError::Loading(progress.to_owned()))
                }
                (Some(error), Some(hint)) => Err(InspectError::Refused {
                    error: error.to_owned(),
                    hint: hint.to_owned(),
                }),
                _ => Err(not_pinflow(&fetched)),
            }
        }
    }
}

fn path(args: &InspectArgs, after: Option<Epoch>) -> String {
    let mut path = "/views".to_owned();
    let escaped = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    if let Some(view) = &args.view {
        // In a path a space is not a plus.
        let _ = write!(path, "/{}", escaped(view).replace('+', "%20"));
    }
    let _ = write!(path, "?format={}", args.format.name());
    if let Some(condition) = &args.condition {
        let _ = write!(path, "&where={}", escaped(condition));
    }
    let limit = match args.format {
        Format::Table if args.view.is_some() => Some(args.limit.unwrap_or(TABLE_ROWS)),
        _ => args.limit,
    };
    if let Some(limit) = limit {
        let _ = write!(path, "&limit={limit}");
    }
    if let Some(after) = after {
        let parameter = if args.view.is_some() {
            "changed_after"
        } else {
            "wait"
        };
        let _ = write!(path, "&{parameter}={after}");
    }
    path
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use expect_test::{Expect, expect};

    use super::super::http::tests::{Running, delta};
    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: InspectArgs,
    }

    fn args(running: &Running, line: &str) -> InspectArgs {
        let at = format!("--at={}", running.server.address());
        let words = ["inspect", &at].into_iter().map(str::to_owned);
        let words = words.chain(line.split_whitespace().map(|word| word.replace('~', " ")));
        Command::try_parse_from(words).unwrap().args
    }

    fn check(running: &Running, line: &str, expected: Expect) {
        let mut out = Vec::new();
        let text = match inspect(&args(running, line), &mut out, false) {
            Ok(()) => String::from_utf8(out).unwrap(),
            Err(error) => format!("error: {error}\n"),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn views_are_listed_and_printed() {
        let running = Running::start(Duration::from_millis(30));
        check(
            &running,
            "",
            expect![[r#"
            +-------------------+------+-----------------------------+
            | view              | rows | columns                     |
            +-------------------+------+-----------------------------+
            | posts_by_category |    3 | category TEXT, posts BIGINT |
            | top_category      |    0 | category TEXT, posts BIGINT |
            +-------------------+------+-----------------------------+
            2 rows at epoch 7
        "#]],
        );
        check(
            &running,
            "posts_by_category",
            expect![[r#"
            +----------+-------+
            | category | posts |
            +----------+-------+
            | a,b      |     5 |
            | art      |     3 |
            | quotes   |    70 |
            +----------+-------+
            3 rows at epoch 7
        "#]],
        );
        check(
            &running,
            "posts_by_category --limit 2 --where posts~>~4",
            expect![[r#"
                +----------+-------+
                | category | posts |
                +----------+-------+
                | a,b      |     5 |
                | quotes   |    70 |
                +----------+-------+
                2 rows at epoch 7
            "#]],
        );
        check(
            &running,
            "posts_by_category --format csv",
            expect![[r#"
            category,posts
            "a,b",5
            art,3
            quotes,70
        "#]],
        );
        check(
            &running,
            "posts_by_category --format json --where category~=~'a,b'",
            expect![[r#"
                {"view":"posts_by_category","epoch":7,"row_count":1,"rows":[
                {"category":"a,b","posts":5}
                ]}
            "#]],
        );
        running.stop();
    }

    #[test]
    fn what_the_server_refuses_is_said() {
        let running = Running::start(Duration::from_millis(30));
        check(
            &running,
            "post~by~category",
            expect![[r#"
            error: there is no view `post by category`: did you mean `posts_by_category`?
        "#]],
        );
        check(
            &running,
            "top_category --where likes",
            expect![[r#"
                error: the condition `likes` cannot be evaluated: No field named likes. Valid fields are category, posts: write one SQL condition over the columns category TEXT, posts BIGINT
            "#]],
        );
        running.stop();
    }

    #[test]
    fn where_nothing_listens_the_error_says_how_to_start() {
        let running = Running::start(Duration::from_millis(30));
        let args = args(&running, "");
        let at = args.at.clone();
        running.stop();
        let error = inspect(&args, &mut Vec::new(), false)
            .unwrap_err()
            .to_string();
        let expected = format!(
            "no pinflow answers at {at}: start one with `pinflow run`, or name its address with --at (Connection refused"
        );
        assert!(error.starts_with(&expected), "{error}");
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for at in ["https://example.com", "http://", "a b", ""] {
            let line = Command::try_parse_from(["inspect", "--at", at]).unwrap();
            let error = inspect(&line.args, &mut Vec::new(), false).unwrap_err();
            assert!(matches!(error, InspectError::Address(_)), "{at}: {error}");
        }
    }

    /// Publishes the next epoch each time something is printed, and is closed after the third time.
    struct Watcher<'a> {
        running: &'a Running,
        printed: Vec<String>,
    }

    impl Write for Watcher<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.printed.len() == 3 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.printed
                .push(String::from_utf8(bytes.to_vec()).unwrap());
            let epoch = 8 + 2 * self.printed.len() as u64;
            self.running
                .store
                .publish(epoch, vec![(0, delta(&[("art", 3, 1)]))]);
            self.running
                .store
                .publish(epoch + 1, vec![(1, delta(&[("new", epoch as i64, 1)]))]);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn watching_prints_again_when_the_view_changes() {
        let running = Running::start(Duration::from_secs(20));
        let mut watcher = Watcher {
            running: &running,
            printed: Vec::new(),
        };
        inspect(
            &args(&running, "top_category --watch --format csv"),
            &mut watcher,
            false,
        )
        .unwrap();
        let rows = |text: &String| text.lines().count() - 1;
        assert_eq!(
            watcher.printed.iter().map(rows).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        running.stop();
    }
}
