//! `secretscan top`: the system as it is now, in a terminal.
//!
//! [`source`] reads, [`state`] keeps, [`snapshot`] is what is shown, [`render`] makes a picture of it, [`view`] knows the keys. It writes
//! nothing to the server.

mod render;
mod snapshot;
mod source;
mod state;
mod throughput;
mod view;

use std::io::{self, IsTerminal};

use anyhow::Context;
use crossterm::event::EventStream;
use futures::StreamExt;
use ratatui::DefaultTerminal;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use secretscan_bus::access::Identity;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::snapshot::Snapshot;
use self::source::{LOOK_EVERY, Source};
use self::view::{After, Panel, View};
use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// What --once draws on that is no terminal.
const WITHOUT_TERMINAL: (u16, u16) = (100, 40);

/// Watch queues, requests, agents and throughput in the terminal
///
/// Reads only. q, Esc or Ctrl-C quit; Tab and the arrows choose a list and scroll it; p stops the picture.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  secretscan top
  secretscan top --once | head -20")]
pub struct Arguments {
    /// Print one picture as text and end: for pipes and scripts
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Shows it.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    if !arguments.once && !io::stdout().is_terminal() {
        let message = "standard output is no terminal";
        return Err(Failure::new(message, "print one picture as text with --once").into());
    }
    let url = arguments.connection.config(Identity::Cli).shown_url();
    arguments.connection.with_bus(async |bus| {
        let source = Source::open(bus.clone(), url).await?;
        match arguments.once {
            true => once(source).await,
            false => live(source).await,
        }
    })?;
    Ok(Outcome::Clean)
}

/// Two looks, since rates are between two.
async fn once(mut source: Source) -> anyhow::Result<()> {
    let first = source.look(&Snapshot::default()).await;
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.tick().await;
    tick.tick().await;
    let snapshot = source.look(&first).await;
    let (width, height) = match io::stdout().is_terminal() {
        true => crossterm::terminal::size().unwrap_or(WITHOUT_TERMINAL),
        false => WITHOUT_TERMINAL,
    };
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    render::render(&snapshot, &View::default(), area, &mut buffer);
    output::to_stdout(|out| text(&buffer).iter().try_for_each(|line| writeln!(out, "{line}")))
}

/// The lines of a picture, without what is empty at their ends.
fn text(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width.max(1));
    let lines = buffer.content.chunks(width).map(|cells| {
        // The second cell of a wide character is empty.
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_owned()
    });
    lines.collect()
}

async fn live(source: Source) -> anyhow::Result<()> {
    let (sender, mut snapshots) = watch::channel(Snapshot::default());
    let looking = tokio::spawn(source.run(sender));
    let mut screen = Screen::open()?;
    let mut events = EventStream::new();
    let mut ended = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut view = View::default();
    let mut shown = Snapshot::default();
    // The first look takes a moment.
    snapshots.changed().await.context("nothing looks at the system any more")?;
    loop {
        if !view.is_paused {
            shown = snapshots.borrow_and_update().clone();
        }
        let frame = |frame: &mut ratatui::Frame<'_>| {
            render::render(&shown, &view, frame.area(), frame.buffer_mut());
        };
        screen.0.draw(frame).context("cannot draw on the terminal")?;
        loop {
            let after = tokio::select! {
                event = events.next() => match event {
                    Some(event) => view.take(&event.context("cannot read the keys")?, |panel| rows(&shown, panel)),
                    None => After::Quit,
                },
                changed = snapshots.changed(), if !view.is_paused => {
                    changed.context("nothing looks at the system any more")?;
                    After::Draw
                }
                _ = ended.recv() => After::Quit,
                _ = hung_up.recv() => After::Quit,
            };
            match after {
                After::Draw => break,
                After::Nothing => {}
                After::Quit => {
                    looking.abort();
                    let _ = looking.await;
                    return Ok(());
                }
            }
        }
    }
}

/// How many lines a list has.
fn rows(snapshot: &Snapshot, panel: Panel) -> usize {
    match panel {
        Panel::Queues => snapshot.queues.len(),
        Panel::Requests => snapshot.requests.len(),
        Panel::Agents => snapshot.agents.len(),
        Panel::Notices => snapshot.notices.len(),
    }
}

/// The terminal, which is given back as it was, after a panic as well.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> anyhow::Result<Self> {
        ratatui::try_init().map(Self).context("cannot use the terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to give back.
        let _ = ratatui::try_restore();
    }
}
