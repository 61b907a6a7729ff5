//! The picture of the goodput table: for every scenario a panel, for every limiter what it used and what was refused.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) ours: bool,
    /// Refused and used, in percent, for every panel.
    pub(crate) cells: Vec<(f64, f64)>,
}

const NAMES: i32 = 280;
const PANEL: i32 = 270;
const BAR: f64 = 180.0;
const TOP: i32 = 70;
const LINE: i32 = 34;

const USED: RGBColor = RGBColor(158, 182, 205);
const USED_BY_OURS: RGBColor = RGBColor(38, 110, 170);
const REFUSED: RGBColor = RGBColor(200, 60, 50);
const GRID: RGBColor = RGBColor(225, 225, 225);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub(crate) fn draw(path: &Path, panels: &[&str], rows: &[Row]) -> Result<(), Box<dyn Error>> {
    let width = NAMES + PANEL * panels.len() as i32;
    let height = TOP + LINE * rows.len() as i32 + 20;
    let area = SVGBackend::new(path, (width as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let bold = ("sans-serif", 18).into_font().style(FontStyle::Bold);
    let title =
        "Share of the quota that is used (upper bar) and requests refused (lower bar), percent";
    area.draw(&Text::new(title, (12, 12), bold.clone()))?;
    for (row, y) in rows.iter().zip((TOP..).step_by(LINE as usize)) {
        let style = ("sans-serif", 15).into_font().style(match row.ours {
            true => FontStyle::Bold,
            false => FontStyle::Normal,
        });
        area.draw(&Text::new(row.name, (12, y + 5), style))?;
    }
    for (panel, name) in panels.iter().enumerate() {
        let x = NAMES + PANEL * panel as i32;
        area.draw(&Text::new(*name, (x, 42), bold.clone()))?;
        for tenth in 0..=4 {
            let x = x + (BAR / 4.0) as i32 * tenth;
            let line = vec![(x, TOP - 4), (x, height - 16)];
            area.draw(&PathElement::new(line, GRID))?;
        }
        for (row, y) in rows.iter().zip((TOP..).step_by(LINE as usize)) {
            let (refused, used) = row.cells[panel];
            let color = if row.ours { USED_BY_OURS } else { USED };
            bar(&area, (x, y), used, format!("{used:.1}"), color)?;
            let label = match refused {
                0.0 => "0".to_owned(),
                _ => format!("{refused:.1}"),
            };
            bar(&area, (x, y + 13), refused, label, REFUSED)?;
        }
    }
    area.present()?;
    Ok(())
}

fn bar(
    area: &Area<'_>,
    (x, y): (i32, i32),
    percent: f64,
    label: String,
    color: RGBColor,
) -> Result<(), Box<dyn Error>> {
    let end = x + (BAR * percent / 100.0).round() as i32;
    if end > x {
        area.draw(&Rectangle::new([(x, y), (end, y + 11)], color.filled()))?;
    }
    let text = ("sans-serif", 13).into_font().color(&BLACK);
    let text = text.pos(Pos::new(HPos::Left, VPos::Center));
    area.draw(&Text::new(label, (end + 4, y + 6), text))?;
    Ok(())
}
