//! `check` and `explain`.

use std::path::PathBuf;

use super::Failure;
use crate::definition::Definition;
use crate::plan::{Format, explain as explain_plan};
use crate::runtime::planned;

/// Arguments of `check`.
#[derive(clap::Args)]
pub struct CheckArgs {
    /// The dataflow file
    #[arg(value_name = "FILE.sql")]
    file: PathBuf,
}

/// Arguments of `explain`.
#[derive(clap::Args)]
pub struct ExplainArgs {
    /// The dataflow file
    #[arg(value_name = "FILE.sql")]
    file: PathBuf,
    /// Only what this view needs
    #[arg(value_name = "VIEW")]
    view: Option<String>,
    /// The notation
    #[arg(long, value_enum, default_value_t = Notation::Text)]
    format: Notation,
}

/// The notation of `explain`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Notation {
    /// Indented text
    Text,
    /// A Mermaid flowchart
    Mermaid,
    /// Graphviz
    Dot,
}

/// Checks a file and says what it defines.
pub fn check(args: &CheckArgs) -> Result<(), Failure> {
    let definition = Definition::load(&args.file)?;
    let plan = planned(&definition)?;
    println!(
        "{} is a dataflow: {} streams, {} tables, {} materialised views, {} operators",
        args.file.display(),
        definition.streams.len(),
        plan.tables.len(),
        plan.views.len(),
        plan.nodes.len()
    );
    Ok(())
}

/// Prints the dataflow of a file.
pub fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let definition = Definition::load(&args.file)?;
    let plan = planned(&definition)?;
    if let Some(view) = &args.view
        && !plan.views.iter().any(|known| known.name == *view)
    {
        let known: Vec<&str> = plan.views.iter().map(|view| view.name.as_str()).collect();
        return Err(format!(
            "{} has no view `{view}`; it has {}",
            args.file.display(),
            known.join(", ")
        )
        .into());
    }
    let format = match args.format {
        Notation::Text => Format::Text,
        Notation::Mermaid => Format::Mermaid,
        Notation::Dot => Format::Dot,
    };
    print!("{}", explain_plan(&plan, args.view.as_deref(), format));
    Ok(())
}
