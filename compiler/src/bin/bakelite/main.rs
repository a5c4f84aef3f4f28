//! The `bakelite` command. What it does is in `bakelite_compiler::tool`; here arguments are parsed and results printed.
//!
//! Exit codes: 0 done, 1 a model or a file is at fault, 2 the command line is, 3 a mistake of bakelite itself, 130 and 143
//! ended by a signal.

mod args;
mod print;
mod signals;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bakelite::names::printable_lines;
use bakelite_compiler::diag::{Code, Diagnostics, Problem};
use bakelite_compiler::ir::SourceLine;
use bakelite_compiler::tool::bench::{self, Bench};
use bakelite_compiler::tool::check::{self, Check};
use bakelite_compiler::tool::library::{self, Library};
use bakelite_compiler::tool::predict::{self, Predict};
use bakelite_compiler::tool::progress::{Progress, say};
use bakelite_compiler::tool::source::{Purpose, Source};
use bakelite_compiler::tool::train::{self, Evaluate, Train};
use bakelite_compiler::tool::{file, inspect, plot, summary};
use clap::{CommandFactory, Parser};

use args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let progress = if cli.quiet { Progress::Quiet } else { Progress::Shown };
    let mut code = 0;
    let done = run(cli.command, progress, &mut code);
    let text = match &done {
        Ok(text) => text.as_str(),
        Err(diagnostics) => {
            say(&format!("{diagnostics}\n"));
            ""
        }
    };
    // Whoever reads may stop early.
    if let Err(e) = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush())
        && e.kind() != io::ErrorKind::BrokenPipe
    {
        say(&format!("error[file]: cannot write to standard output: {e}\n"));
        return ExitCode::from(1);
    }
    match done {
        Ok(_) => ExitCode::from(code),
        Err(diagnostics) if diagnostics.list.iter().any(|d| d.code == Code::Internal) => ExitCode::from(3),
        Err(_) => ExitCode::from(1),
    }
}

/// Does what a command asks for; the text is for standard output, and the exit code for what is done and yet no success.
fn run(command: Command, progress: Progress, code: &mut u8) -> Result<String, Diagnostics> {
    match command {
        Command::Summary { model } => Ok(plain(summary::summary(&model.path, &model.shapes(), progress)?)),
        Command::Plot { model, output } => {
            let source = Source::open(&model.path)?;
            let diagram = source.diagram(&source.describe(&model.shapes(), None, Purpose::Predict)?);
            let picture = match output.extension().and_then(|e| e.to_str()) {
                Some("svg") => plot::svg(&diagram),
                Some("dot" | "gv") => diagram.dot(),
                _ => return Err(unknown_picture(&output)),
            };
            file::replace(&output, |file| file.write_all(picture.as_bytes()))?;
            Ok(String::new())
        }
        Command::Predict { model, input, output, batch_size, run } => {
            let shapes = model.shapes();
            let what = Predict { model: model.path, input, output, batch: batch_size, shapes, run: run.run() };
            predict::predict(&what, progress)?;
            Ok(String::new())
        }
        Command::Train {
            model,
            data,
            validation,
            epochs,
            batch_size,
            no_shuffle,
            output,
            history,
            save_on_interrupt,
            run,
        } => {
            let signals = signals::watch().map_err(|e| {
                let what = format!("signals cannot be handled: {e}");
                single(Problem::new(Code::Internal, what), None)
            })?;
            let interrupt = signals.interrupt.clone();
            let (shapes, run) = (model.shapes(), run.run());
            let (model, batch, shuffle) = (model.path, batch_size, !no_shuffle);
            let what = Train {
                model,
                data,
                validation,
                epochs,
                batch,
                shuffle,
                output,
                history,
                interrupt,
                save_on_interrupt,
                shapes,
                run,
            };
            if train::train(&what, progress)?.interrupted() {
                *code = signals.exit_code();
            }
            Ok(String::new())
        }
        Command::Evaluate { model, data, batch_size, run } => {
            let shapes = model.shapes();
            let what = Evaluate { model: model.path, data, batch: batch_size, shapes, run: run.run() };
            Ok(format!("{}\n", print::json(&train::json(&train::evaluate(&what, progress)?))))
        }
        Command::Bench { model, batch_size, json, profile, seconds, run } => {
            let (shapes, budget) = (model.shapes(), Duration::from_secs_f64(seconds));
            let what = Bench { model: model.path, batch: batch_size, shapes, run: run.run(), budget };
            let (measured, kernels) = bench::bench(&what, profile, progress)?;
            let table = kernels.map(|kernels| kernels.to_string()).unwrap_or_default();
            if json {
                say(&table);
                return Ok(format!("{}\n", print::json(&measured)));
            }
            Ok(plain(format!("{}{table}", print::measured(&measured))))
        }
        Command::Check { model, data, batch_size, output, run } => {
            let (shapes, run) = (model.shapes(), run.run());
            let output = output.unwrap_or_else(|| check::reproducing(&model.path));
            let what = Check { model: model.path, data, batch: batch_size, output, shapes, run };
            Ok(check::check(&what, progress)?.to_string())
        }
        Command::Compile { model, output, name, max_batch, entry, target_cpu, target, verify, seed, weights } => {
            let (shapes, entries) = (model.shapes(), entry);
            let run = args::RunArgs { threads: None, keep_subnormals: false, seed, weights }.run();
            let verify = verify.and_then(|files| <[PathBuf; 2]>::try_from(files).ok()).map(|[x, y]| (x, y));
            let model = model.path;
            let what = Library { model, output, name, max_batch, entries, target_cpu, target, verify, shapes, run };
            let _stage = progress.stage("compiling");
            Ok(format!("{}\n", library::library(&what, progress)?.library.display()))
        }
        Command::Inspect { model, stage, entry, level } => {
            let _stage = progress.stage("compiling");
            inspect::inspect(&model.path, &model.shapes(), stage.into(), entry.as_deref(), level.as_deref(), progress)
                .map(plain)
        }
        Command::Report { model, json } => {
            let _stage = progress.stage("compiling");
            let report = inspect::report(&model.path, &model.shapes(), progress)?;
            Ok(if json { format!("{}\n", print::json(&report)) } else { plain(report) })
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "bakelite", &mut text);
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        Command::Man { command } => man(command.as_deref()),
    }
}

/// A text for people, in which no name turns the direction of writing.
fn plain(text: impl ToString) -> String {
    printable_lines(&text.to_string()).into_owned()
}

/// The man page of the command, or of one of its commands.
fn man(name: Option<&str>) -> Result<String, Diagnostics> {
    let mut command = Cli::command();
    command.build();
    let page = match name {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(found) => found.clone(),
            None => {
                let known: Vec<&str> = command.get_subcommands().map(|c| c.get_name()).collect();
                let problem = Problem::new(Code::Unknown, format!("there is no command `{}`", name.escape_debug()));
                return Err(single(problem.help(format!("commands are {}", known.join(", "))), None));
            }
        },
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|e| single(Problem::new(Code::Internal, e.to_string()), None))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn unknown_picture(output: &Path) -> Diagnostics {
    let name = output.with_extension("svg");
    let problem = Problem::new(Code::File, "pictures are written as .svg or .dot");
    Diagnostics::in_file(problem.help(format!("name it {}", name.display())), output)
}

fn single(problem: Problem, source: Option<SourceLine>) -> Diagnostics {
    Diagnostics::one(problem, "", source)
}
