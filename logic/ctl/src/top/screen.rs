//! The screen of `top`: a box for each service, with its figures and a curve of the first one. Only draws.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Paragraph, Sparkline},
};

use super::readings::Watched;

/// A figure and its name, side by side.
const CELL_WIDTH: u16 = 30;

/// The lowest curve that says something.
const CURVE_HEIGHT: u16 = 3;

/// Draws all of them, and how to leave.
pub(super) fn draw(frame: &mut Frame<'_>, watched: &[Watched]) {
    let boxes = watched.iter().map(|_| Constraint::Fill(1)).chain([Constraint::Length(1)]);
    let areas = Layout::vertical(boxes).split(frame.area());
    for (service, area) in watched.iter().zip(areas.iter()) {
        draw_service(frame, service, *area);
    }
    if let Some(last) = areas.last() {
        frame.render_widget(Line::from("q leaves").style(Style::new().add_modifier(Modifier::DIM)), *last);
    }
}

fn draw_service(frame: &mut Frame<'_>, service: &Watched, area: Rect) {
    let state = match service.problem.as_str() {
        "" => Span::styled(" ready ", Style::new().fg(Color::Green)),
        problem => Span::styled(format!(" {problem} "), Style::new().fg(Color::Red)),
    };
    let block = Block::bordered().title(Line::from(vec![Span::from(format!(" {} ", service.name)), state]));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let columns = usize::from((inside.width / CELL_WIDTH).max(1));
    let lines: Vec<Line<'_>> = service.figures.chunks(columns).map(figures).collect();
    let [text, curve] = Layout::vertical([Constraint::Length(lines.len() as u16), Constraint::Fill(1)]).areas(inside);
    frame.render_widget(Paragraph::new(lines), text);
    if curve.height >= CURVE_HEIGHT {
        let newest = service.curve.iter().rev().take(usize::from(curve.width)).rev();
        let values: Vec<u64> = newest.map(|value| *value as u64).collect();
        frame.render_widget(Sparkline::default().data(&values).style(Style::new().fg(Color::Cyan)), curve);
    }
}

fn figures<'a>(figures: &[(&'static str, f64)]) -> Line<'a> {
    let cell = |(words, value): &(&'static str, f64)| {
        let value = Span::styled(format!("{:>9} ", short(*value)), Style::new().add_modifier(Modifier::BOLD));
        [value, Span::from(format!("{words:<20}"))]
    };
    Line::from_iter(figures.iter().flat_map(cell))
}

/// At most as many signs as a cell has room for.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e9 => format!("{:.1} G", value / 1e9),
        value if value >= 1e6 => format!("{:.1} M", value / 1e6),
        value if value.fract() == 0.0 || value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    fn drawn(watched: &[Watched], width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, watched)).unwrap();
        let buffer = terminal.backend().buffer();
        let signs = buffer.content().chunks(usize::from(width));
        signs.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
    }

    fn service() -> Watched {
        let mut service = Watched::new(("gim-1:8001".into(), "127.0.0.1:8001".parse().unwrap()));
        service.figures = vec![("packets in/s", 1_234.5), ("bytes out/s", 2_500_000.0), ("ms a transaction", 0.25)];
        service.curve = (0..10).map(f64::from).collect();
        service
    }

    #[test]
    fn each_service_has_its_figures_and_its_curve() {
        let mut gone = Watched::new(("gim-1:8011".into(), "127.0.0.1:8011".parse().unwrap()));
        gone.problem = "nobody answers: Connection refused".into();
        let screen = drawn(&[service(), gone], 80, 20);
        for words in ["gim-1:8001", " ready ", "1234 packets in/s", "2.5 M bytes out/s", "0.2 ms a transaction"] {
            assert!(screen.contains(words), "{words}\n{screen}");
        }
        assert!(screen.contains("nobody answers: Connection refused") && screen.contains("q leaves"), "{screen}");
        assert!(screen.contains('\u{2588}'), "the curve reaches its top\n{screen}");
    }

    #[test]
    fn a_terminal_without_room_shows_what_fits() {
        for (width, height) in [(1, 1), (10, 3), (31, 5), (200, 4)] {
            drawn(&[service(), service(), service()], width, height);
        }
    }
}
