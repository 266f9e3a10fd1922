//! `top`: what services do at this moment, on one screen that is drawn anew again and again. Asks admin listeners, as `status` does.
//!
//! [`readings`] makes figures of what they answer, [`screen`] draws them. The main thread asks, draws and waits for keys. Always holds: a
//! service that does not answer is shown as one, and the terminal is as it was when this ends.

mod readings;
mod screen;

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use serde_json::json;

use self::readings::Watched;
use crate::{
    answer::Answer,
    status::{Admins, NoAddress},
};

/// Whom to watch.
#[derive(Debug, clap::Args)]
pub struct TopArguments {
    #[command(flatten)]
    admins: Admins,
    /// Between two looks
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    interval_ms: u64,
}

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// The address is none.
    #[error(transparent)]
    Address(#[from] NoAddress),
    /// Somebody else reads what is printed.
    #[error("top needs a terminal; gim-ctl status tells once how much of everything there is")]
    NoTerminal,
    /// The terminal does not do it.
    #[error("the terminal: {0}")]
    Terminal(#[from] std::io::Error),
}

/// Until somebody presses q.
pub fn run(arguments: &TopArguments) -> Result<Answer, TopError> {
    let sockets = arguments.admins.sockets()?;
    if !std::io::stdout().is_terminal() {
        return Err(TopError::NoTerminal);
    }
    let mut watched: Vec<Watched> = sockets.into_iter().map(Watched::new).collect();
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, &mut watched, Duration::from_millis(arguments.interval_ms));
    ratatui::try_restore()?;
    shown?;
    Ok(Answer::good(String::new(), json!({})))
}

fn show(terminal: &mut ratatui::DefaultTerminal, watched: &mut [Watched], interval: Duration) -> std::io::Result<()> {
    loop {
        let looked_at = Instant::now();
        watched.iter_mut().for_each(Watched::look);
        loop {
            terminal.draw(|frame| screen::draw(frame, watched))?;
            let left = interval.saturating_sub(looked_at.elapsed());
            if !event::poll(left)? {
                break;
            }
            if is_the_end(&event::read()?) {
                return Ok(());
            }
        }
    }
}

fn is_the_end(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let is_cancelled = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (is_cancelled || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}
