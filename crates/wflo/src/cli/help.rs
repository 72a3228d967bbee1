//! What stands below a command's options: paragraphs and examples, laid out for the width of the reader.
//!
//! Help texts are written with line ends where their source needs them. They are laid out here, once for all
//! commands, so that clap has nothing left to break.

use clap::{Command, CommandFactory as _};

use super::Cli;
use crate::wrap::wrap;

/// The widest help, in columns.
pub(crate) const WIDEST: usize = 100;
/// How far what belongs to an example is set in below it.
const BELOW: usize = 6;

/// The command line, its help laid out for so many columns.
pub(crate) fn command(columns: usize) -> Command {
    let width = columns.min(WIDEST);
    within(Cli::command().term_width(width), width)
}

fn within(command: Command, width: usize) -> Command {
    let epilogue = command.get_after_help().map(|help| laid_out(&help.to_string(), width));
    let command = match epilogue {
        Some(epilogue) => command.after_help(epilogue),
        None => command,
    };
    command.mut_subcommands(|child| within(child, width))
}

/// Paragraphs are filled; a line that is set in is an example, with what is said of it behind it.
fn laid_out(help: &str, width: usize) -> String {
    let mut blocks: Vec<String> = Vec::new();
    for block in help.split("\n\n") {
        let mut parts: Vec<String> = Vec::new();
        let mut lines = block.lines().peekable();
        while lines.peek().is_some() {
            let mut prose: Vec<&str> = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with(' ')) {
                prose.push(line);
            }
            if !prose.is_empty() {
                parts.push(wrap(&prose.join(" "), width, 0));
            }
            let mut rows: Vec<&str> = Vec::new();
            while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
                rows.push(line);
            }
            parts.extend(examples(&rows, width));
        }
        blocks.push(parts.join("\n"));
    }
    blocks.join("\n\n")
}

/// Where one line of a block is too long, what is said of the examples stands below each of them.
fn examples(rows: &[&str], width: usize) -> Vec<String> {
    if rows.iter().all(|row| row.chars().count() <= width) {
        return rows.iter().map(|row| (*row).to_owned()).collect();
    }
    let mut lines = Vec::new();
    for row in rows {
        let set_in = row.len() - row.trim_start().len();
        let (command, said) = row.trim_start().split_once("  ").unwrap_or((row.trim_start(), ""));
        lines.push(carried_on(command, set_in, width));
        let said = said.trim_start();
        if !said.is_empty() {
            let said = wrap(said, width.saturating_sub(BELOW), 0);
            lines.extend(said.lines().map(|line| format!("{}{line}", " ".repeat(BELOW))));
        }
    }
    lines
}

/// A command that a shell takes as one, broken before an option where it is too long.
fn carried_on(command: &str, set_in: usize, width: usize) -> String {
    let (mut text, mut column) = (" ".repeat(set_in), set_in);
    for (at, part) in command.split(" -").enumerate() {
        let part = if at == 0 { part.to_owned() } else { format!("-{part}") };
        let wide = part.chars().count();
        // Behind it there is room for what carries the line on.
        if at > 0 && column + 1 + wide + 2 > width {
            text.push_str(&format!(" \\\n{}", " ".repeat(BELOW)));
            column = BELOW;
        } else if at > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(&part);
        column += wide;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_filled_and_an_example_stays_one_command() {
        let help = "One two three\nfour five.\n\nExamples:\n  wflo a --one 1 --two 2   Does it\n  wflo b   Does that";
        assert_eq!(
            laid_out(help, 40),
            "One two three four five.\n\nExamples:\n  wflo a --one 1 --two 2   Does it\n  wflo b   Does that"
        );
        assert_eq!(
            laid_out(help, 22),
            "One two three four\nfive.\n\nExamples:\n  wflo a --one 1 \\\n      --two 2\n      Does it\n  wflo b\n      Does that"
        );
    }

    /// Every command's help, as clap prints it, has the epilogue as it was laid out.
    fn each(command: &mut Command, width: usize, seen: &mut usize) {
        if let Some(epilogue) = command.get_after_help().map(ToString::to_string) {
            let printed = command.clone().render_long_help().to_string();
            let name = command.get_name().to_owned();
            assert!(printed.contains(&epilogue), "{name} at {width}: {printed}");
            let long = epilogue.lines().find(|line| line.chars().count() > width);
            assert_eq!(long, None, "{name} at {width}");
            *seen += 1;
        }
        command.get_subcommands_mut().for_each(|child| each(child, width, seen));
    }

    #[test]
    fn nothing_is_broken_twice_at_any_width() {
        for width in [80, WIDEST] {
            let (mut root, mut seen) = (command(width), 0);
            root.build();
            each(&mut root, width, &mut seen);
            assert!(seen > 20, "{seen}");
        }
    }
}
