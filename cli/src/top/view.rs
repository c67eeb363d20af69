//! What the user has chosen to see, and the keys that change it.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// A list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Panel {
    /// The queues.
    #[default]
    Queues,
    /// The requests under way.
    Requests,
    /// The agents.
    Agents,
    /// Alerts and dead letters.
    Notices,
}

impl Panel {
    const ALL: [Self; 4] = [Self::Queues, Self::Requests, Self::Agents, Self::Notices];

    fn next(self, by: usize) -> Self {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}

/// What the user has chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The list that the arrows scroll.
    pub panel: Panel,
    /// Whether the picture stands still.
    pub is_paused: bool,
    /// How many lines of each list are scrolled away.
    pub scroll: [usize; 4],
}

/// What is to be done after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Draw again.
    Draw,
    /// Nothing.
    Nothing,
    /// End.
    Quit,
}

impl View {
    /// How many lines of a list are scrolled away.
    pub fn scroll_of(&self, panel: Panel) -> usize {
        self.scroll[panel as usize]
    }

    /// Takes in what the user did. A list of `rows` lines does not scroll beyond its end.
    pub fn take(&mut self, event: &Event, rows: impl Fn(Panel) -> usize) -> After {
        let Event::Key(KeyEvent {
            code, modifiers, kind: KeyEventKind::Press | KeyEventKind::Repeat, ..
        }) = event
        else {
            return if matches!(event, Event::Resize(..)) { After::Draw } else { After::Nothing };
        };
        let last = rows(self.panel).saturating_sub(1);
        let scroll = &mut self.scroll[self.panel as usize];
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return After::Quit,
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return After::Quit,
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Tab | KeyCode::Right => self.panel = self.panel.next(1),
            KeyCode::BackTab | KeyCode::Left => self.panel = self.panel.next(Panel::ALL.len() - 1),
            KeyCode::Up => *scroll = scroll.saturating_sub(1),
            KeyCode::Down => *scroll = (*scroll + 1).min(last),
            KeyCode::Home => *scroll = 0,
            _ => return After::Nothing,
        }
        After::Draw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(view: &mut View, code: KeyCode, modifiers: KeyModifiers) -> After {
        view.take(&Event::Key(KeyEvent::new(code, modifiers)), |_| 3)
    }

    #[test]
    fn keys() {
        let mut view = View::default();
        let none = KeyModifiers::NONE;
        for _ in 0..5 {
            press(&mut view, KeyCode::Down, none);
        }
        assert_eq!(view.scroll_of(Panel::Queues), 2, "not beyond the end");
        press(&mut view, KeyCode::Tab, none);
        press(&mut view, KeyCode::Down, none);
        assert_eq!((view.panel, view.scroll_of(Panel::Requests)), (Panel::Requests, 1));
        press(&mut view, KeyCode::Left, none);
        press(&mut view, KeyCode::Left, none);
        assert_eq!(view.panel, Panel::Notices);
        assert_eq!(press(&mut view, KeyCode::Char('p'), none), After::Draw);
        assert!(view.is_paused);
        assert_eq!(press(&mut view, KeyCode::Char('c'), none), After::Nothing);
        for (code, modifiers) in
            [(KeyCode::Char('c'), KeyModifiers::CONTROL), (KeyCode::Char('q'), none), (KeyCode::Esc, none)]
        {
            assert_eq!(press(&mut view, code, modifiers), After::Quit);
        }
        assert_eq!(view.take(&Event::Resize(80, 24), |_| 0), After::Draw);
    }
}
