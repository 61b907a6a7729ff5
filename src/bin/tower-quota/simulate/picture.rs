//! The course of all limiters as one picture.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::course::Course;
use crate::error::CliError;
use crate::out::grouped;
use crate::span;

/// One panel.
pub(super) struct Panel<'a> {
    pub(super) title: String,
    pub(super) course: &'a Course,
}

const WIDTH: u32 = 900;
const PANEL: u32 = 190;
const TOP: u32 = 48;
const LEFT: i32 = 64;
const RIGHT: i32 = 24;

const ADMITTED: RGBColor = RGBColor(38, 110, 170);
const REFUSED: RGBColor = RGBColor(200, 60, 50);
const AXIS: RGBColor = RGBColor(110, 110, 110);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Writes the picture to `path`.
pub(super) fn draw(path: &Path, title: &str, panels: &[Panel<'_>]) -> Result<(), CliError> {
    let mut svg = String::new();
    let drawn = draw_all(&mut svg, title, panels);
    drawn.map_err(|error| CliError::Other(format!("cannot draw: {error}")))?;
    std::fs::write(path, svg).map_err(|error| CliError::file(path, error))
}

fn draw_all(svg: &mut String, title: &str, panels: &[Panel<'_>]) -> Result<(), Box<dyn Error>> {
    let height = TOP + PANEL * panels.len() as u32;
    let area = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let bold = ("sans-serif", 17).into_font().style(FontStyle::Bold);
    area.draw(&Text::new(title.to_owned(), (12, 12), bold))?;
    legend(&area)?;
    for (nth, panel) in panels.iter().enumerate() {
        let top = (TOP + PANEL * nth as u32) as i32;
        draw_panel(&area, top, panel)?;
    }
    area.present()?;
    drop(area);
    Ok(())
}

fn legend(area: &Area<'_>) -> Result<(), Box<dyn Error>> {
    let small = || ("sans-serif", 13).into_font();
    for (x, color, text) in [(620, ADMITTED, "admitted"), (710, REFUSED, "refused")] {
        area.draw(&Rectangle::new([(x, 16), (x + 12, 28)], color.filled()))?;
        area.draw(&Text::new(text, (x + 17, 15), small()))?;
    }
    let line = vec![(790, 22), (806, 22)];
    area.draw(&PathElement::new(line, BLACK.stroke_width(2)))?;
    area.draw(&Text::new("quota", (812, 15), small()))?;
    Ok(())
}

fn draw_panel(area: &Area<'_>, top: i32, panel: &Panel<'_>) -> Result<(), Box<dyn Error>> {
    let course = panel.course;
    let small = ("sans-serif", 13).into_font();
    let title = ("sans-serif", 15).into_font().style(FontStyle::Bold);
    area.draw(&Text::new(panel.title.clone(), (LEFT, top + 2), title))?;
    let (floor, ceiling) = (top + PANEL as i32 - 30, top + 28);
    let columns = course.admitted.iter().zip(&course.refused);
    let highest = columns
        .clone()
        .map(|(admitted, refused)| admitted + refused);
    let highest = highest.max().unwrap_or(0).max(course.quota).max(1) as f64 * 1.05;
    let y = |value: u64| floor - (f64::from(floor - ceiling) * value as f64 / highest) as i32;
    let width = WIDTH as i32 - LEFT - RIGHT;
    let x = |part: f64| LEFT + (f64::from(width) * part).round() as i32;
    let steps = course.admitted.len() as f64;
    for (step, (&admitted, &refused)) in columns.enumerate() {
        let (from, to) = (x(step as f64 / steps), x((step + 1) as f64 / steps));
        let bar = |low: u64, high: u64, color: RGBColor| {
            let corners = [(from, y(high)), (to, y(low))];
            area.draw(&Rectangle::new(corners, color.filled()))
        };
        if admitted > 0 {
            bar(0, admitted, ADMITTED)?;
        }
        if refused > 0 {
            bar(admitted, admitted + refused, REFUSED)?;
        }
    }
    let quota = vec![(LEFT, y(course.quota)), (LEFT + width, y(course.quota))];
    area.draw(&PathElement::new(quota, BLACK.stroke_width(2)))?;
    area.draw(&PathElement::new(
        vec![(LEFT, floor), (LEFT + width, floor)],
        AXIS,
    ))?;
    let right = Pos::new(HPos::Right, VPos::Center);
    let legible = floor - y(course.quota) >= 14;
    for value in [0, course.quota].into_iter().skip(usize::from(!legible)) {
        let style = small.clone().color(&BLACK).pos(right);
        area.draw(&Text::new(grouped(value), (LEFT - 6, y(value)), style))?;
    }
    for quarter in 0..=4 {
        let part = f64::from(quarter) / 4.0;
        let place = match quarter {
            0 => HPos::Left,
            4 => HPos::Right,
            _ => HPos::Center,
        };
        let style = small.clone().color(&AXIS).pos(Pos::new(place, VPos::Top));
        let text = span::text(course.length.as_secs_f64() * part);
        area.draw(&Text::new(text, (x(part), floor + 5), style))?;
    }
    Ok(())
}
