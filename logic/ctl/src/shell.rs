//! `completions` and `man`: what shells and people read about this program. Pure.

use std::io;

use clap::Command;
use clap_complete::Shell;

/// The script that completes our arguments in a shell.
pub fn completions(mut program: Command, shell: Shell) -> Vec<u8> {
    let (name, mut script) = (program.get_name().to_owned(), Vec::new());
    clap_complete::generate(shell, &mut program, name, &mut script);
    script
}

/// One page with every command, for `man`.
pub fn man_page(program: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(program.clone()).render(&mut page)?;
    let mut commands = Vec::new();
    collect("", program, &mut commands);
    for (name, command) in commands {
        let man = clap_mangen::Man::new(command.clone());
        page.extend(format!(".SH {}\n", name.to_uppercase()).bytes());
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    Ok(page)
}

/// Every command that does something, with the words that lead to it.
fn collect<'c>(path: &str, command: &'c Command, found: &mut Vec<(String, &'c Command)>) {
    let name = if path.is_empty() { command.get_name().to_owned() } else { format!("{path} {}", command.get_name()) };
    if !path.is_empty() && !command.has_subcommands() {
        found.push((name.clone(), command));
    }
    command.get_subcommands().filter(|inner| inner.get_name() != "help").for_each(|inner| collect(&name, inner, found));
}
