//! A diagram as a picture: SVG, drawn here.
//!
//! Boxes lie in rows, each below all that it takes from; a wire that passes a row takes a place in it. The places of a
//! row are ordered by where their neighbours lie (the barycentres of Sugiyama, Tagawa and Toda, 1981), and then moved as
//! close to those as the order admits.

use std::fmt::Write;

use super::diagram::{Diagram, shape_text};

/// Sizes in pixels. Letters are those of a font of fixed width.
const LETTER: f64 = 7.3;
const BOX_HEIGHT: f64 = 40.0;
const ROW_HEIGHT: f64 = 92.0;
const GAP: f64 = 26.0;
const MARGIN: f64 = 20.0;
/// How often rows are ordered, and moved.
const SWEEPS: usize = 12;

/// A place in a row: a box, an output, or a wire on its way.
struct Place {
    row: usize,
    width: f64,
    /// The middle.
    x: f64,
    lines: Vec<String>,
    class: &'static str,
}

struct Layout {
    places: Vec<Place>,
    /// The places of each row from left to right.
    rows: Vec<Vec<usize>>,
    /// Pieces of wires from one row to the next.
    pieces: Vec<(usize, usize)>,
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
    /// Wires: the places that each goes through, and its text.
    wires: Vec<(Vec<usize>, String)>,
}

/// Draws a diagram, with shapes on the wires.
pub fn svg(diagram: &Diagram) -> String {
    let mut layout = Layout::new(diagram);
    layout.order();
    layout.spread();
    layout.draw(&diagram.name)
}

impl Layout {
    fn new(diagram: &Diagram) -> Layout {
        let count = diagram.blocks.len();
        // Outputs are places too, each with a wire of its own.
        let outputs =
            diagram.outputs.iter().enumerate().map(|(i, (_, block, result))| {
                (*block, count + i, shape_text(&diagram.blocks[*block].results[*result]))
            });
        let wires = diagram.wires.iter().map(|wire| (wire.from, wire.to, shape_text(&wire.ty)));
        // Blocks come in an order that follows their wires; a wire that goes back is drawn, and moves nothing.
        let wires: Vec<(usize, usize, String)> = wires.chain(outputs).collect();
        let mut depth = vec![0; count + diagram.outputs.len()];
        for to in 0..depth.len() {
            let from = wires.iter().filter(|w| w.1 == to && w.0 < to).map(|w| depth[w.0] + 1);
            depth[to] = from.max().unwrap_or(0);
        }
        let mut layout = Layout {
            places: Vec::new(),
            rows: vec![Vec::new(); depth.iter().max().map_or(0, |d| d + 1)],
            pieces: Vec::new(),
            above: Vec::new(),
            below: Vec::new(),
            wires: Vec::new(),
        };
        for (i, block) in diagram.blocks.iter().enumerate() {
            let class = if block.is_input() { "input" } else { "layer" };
            layout.place(depth[i], vec![block.name.clone(), block.class.clone()], class);
        }
        for (i, (name, ..)) in diagram.outputs.iter().enumerate() {
            layout.place(depth[count + i], vec![name.clone()], "output");
        }
        for (from, to, text) in wires {
            let mut through = vec![from];
            if depth[from] < depth[to] {
                for row in depth[from] + 1..depth[to] {
                    through.push(layout.place(row, Vec::new(), "pass"));
                }
                through.push(to);
                let pieces: Vec<(usize, usize)> = through.windows(2).map(|pair| (pair[0], pair[1])).collect();
                for (upper, lower) in pieces {
                    layout.pieces.push((upper, lower));
                    layout.below[upper].push(lower);
                    layout.above[lower].push(upper);
                }
            } else {
                through.push(to);
            }
            layout.wires.push((through, text));
        }
        layout
    }

    fn place(&mut self, row: usize, lines: Vec<String>, class: &'static str) -> usize {
        let letters = lines.iter().map(|line| line.chars().count()).max();
        let width = letters.map_or(8.0, |letters| letters as f64 * LETTER + 24.0);
        self.rows[row].push(self.places.len());
        self.places.push(Place { row, width, x: 0.0, lines, class });
        self.above.push(Vec::new());
        self.below.push(Vec::new());
        self.places.len() - 1
    }

    /// Orders each row by the middle of the neighbours in the row before, downwards and upwards in turns; keeps the order
    /// with the fewest crossings.
    fn order(&mut self) {
        let mut best = (self.crossings(), self.rows.clone());
        for sweep in 0..SWEEPS {
            let down = sweep % 2 == 0;
            let rows: Vec<usize> =
                if down { (0..self.rows.len()).collect() } else { (0..self.rows.len()).rev().collect() };
            for row in rows {
                let position = self.positions();
                let neighbours = if down { &self.above } else { &self.below };
                let middle = |place: usize| match neighbours[place].as_slice() {
                    [] => position[place] as f64,
                    list => list.iter().map(|n| position[*n] as f64).sum::<f64>() / list.len() as f64,
                };
                self.rows[row].sort_by(|a, b| middle(*a).total_cmp(&middle(*b)));
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.rows.clone());
            }
        }
        self.rows = best.1;
    }

    /// The place of each place in its row.
    fn positions(&self) -> Vec<usize> {
        let mut positions = vec![0; self.places.len()];
        for row in &self.rows {
            row.iter().enumerate().for_each(|(i, place)| positions[*place] = i);
        }
        positions
    }

    fn crossings(&self) -> usize {
        let position = self.positions();
        let mut by_row: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.rows.len()];
        for (upper, lower) in &self.pieces {
            by_row[self.places[*upper].row].push((position[*upper], position[*lower]));
        }
        let crossing = |list: &Vec<(usize, usize)>| {
            let crosses = |a: &(usize, usize), b: &(usize, usize)| (a.0 < b.0 && a.1 > b.1) || (a.0 > b.0 && a.1 < b.1);
            list.iter().enumerate().map(|(i, a)| list[..i].iter().filter(|b| crosses(a, b)).count()).sum::<usize>()
        };
        by_row.iter().map(crossing).sum()
    }

    /// Gives every place its middle: side by side first, then near the middle of its neighbours.
    fn spread(&mut self) {
        for row in self.rows.clone() {
            let mut x = 0.0;
            for place in row {
                let place = &mut self.places[place];
                place.x = x + place.width / 2.0;
                x += place.width + GAP;
            }
        }
        for sweep in 0..2 * SWEEPS {
            let rows: Vec<usize> =
                if sweep % 2 == 0 { (0..self.rows.len()).collect() } else { (0..self.rows.len()).rev().collect() };
            for row in rows {
                self.pull(row);
            }
        }
        let left = self.places.iter().map(|p| p.x - p.width / 2.0).fold(f64::INFINITY, f64::min);
        self.places.iter_mut().for_each(|place| place.x += MARGIN - left);
    }

    /// Moves the places of a row towards their neighbours, as far as the places beside them let them.
    fn pull(&mut self, row: usize) {
        let order = self.rows[row].clone();
        let wanted: Vec<f64> = order
            .iter()
            .map(|&place| {
                let near: Vec<f64> =
                    self.above[place].iter().chain(&self.below[place]).map(|n| self.places[*n].x).collect();
                if near.is_empty() { self.places[place].x } else { near.iter().sum::<f64>() / near.len() as f64 }
            })
            .collect();
        let apart = |a: usize, b: usize| (self.places[a].width + self.places[b].width) / 2.0 + GAP;
        // The mean of packing from the left and from the right keeps every distance.
        let mut from_left = wanted.clone();
        for i in 1..order.len() {
            from_left[i] = from_left[i].max(from_left[i - 1] + apart(order[i - 1], order[i]));
        }
        let mut from_right = wanted;
        for i in (1..order.len()).rev() {
            from_right[i - 1] = from_right[i - 1].min(from_right[i] - apart(order[i - 1], order[i]));
        }
        for (i, place) in order.into_iter().enumerate() {
            self.places[place].x = (from_left[i] + from_right[i]) / 2.0;
        }
    }

    fn draw(&self, name: &str) -> String {
        let width = self.places.iter().map(|p| p.x + p.width / 2.0).fold(0.0, f64::max) + MARGIN + 60.0;
        let height = self.rows.len() as f64 * ROW_HEIGHT - (ROW_HEIGHT - BOX_HEIGHT) + 2.0 * MARGIN;
        let height = height.max(2.0 * MARGIN);
        let mut out = String::new();
        let _ = writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"monospace\" font-size=\"12\">"
        );
        let _ = writeln!(out, "<title>{}</title>", escape(name));
        out += "<style>\n\
            text { text-anchor: middle; fill: #222 }\n\
            rect, ellipse { stroke: #555; fill: #fff }\n\
            .input rect { fill: #e3f0fb } .layer rect { fill: #f6f6f0 } .output rect { fill: #e8f5e3 }\n\
            .class { fill: #777; font-size: 11px }\n\
            path { fill: none; stroke: #888; marker-end: url(#arrow) }\n\
            .shape { fill: #345; font-size: 10px; text-anchor: start; paint-order: stroke; stroke: #fff; stroke-width: 3px }\n\
            </style>\n\
            <defs><marker id=\"arrow\" markerWidth=\"8\" markerHeight=\"8\" refX=\"7\" refY=\"4\" orient=\"auto\">\
            <path d=\"M0,0 L8,4 L0,8 z\" style=\"fill: #888; stroke: none; marker-end: none\"/></marker></defs>\n";
        for (through, text) in &self.wires {
            self.draw_wire(&mut out, through, text);
        }
        for place in self.places.iter().filter(|place| place.class != "pass") {
            let (x, y) = (place.x - place.width / 2.0, top(place.row));
            let round = if place.class == "output" { BOX_HEIGHT / 2.0 } else { 5.0 };
            let _ = writeln!(
                out,
                "<g class=\"{}\"><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BOX_HEIGHT}\" rx=\"{round}\"/>",
                place.class, place.width
            );
            let first = if place.lines.len() == 1 { y + 24.0 } else { y + 17.0 };
            for (i, line) in place.lines.iter().enumerate() {
                let class = if i == 0 { "name" } else { "class" };
                let y = first + 15.0 * i as f64;
                let _ =
                    writeln!(out, "<text class=\"{class}\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>", place.x, escape(line));
            }
            out += "</g>\n";
        }
        out + "</svg>\n"
    }

    /// A wire as a curve that is upright at every row, with the shape at its beginning.
    fn draw_wire(&self, out: &mut String, through: &[usize], text: &str) {
        let [first, .., last] = through else { return };
        let (from, to) = (&self.places[*first], &self.places[*last]);
        let (mut x, mut y) = (from.x, top(from.row) + BOX_HEIGHT);
        let mut path = format!("M{x:.1},{y:.1}");
        for &place in &through[1..] {
            let (place, end) = (&self.places[place], top(self.places[place].row));
            let middle = (y + end) / 2.0;
            let _ = write!(path, " C{x:.1},{middle:.1} {:.1},{middle:.1} {:.1},{end:.1}", place.x, place.x);
            (x, y) = (place.x, end);
            if place.class == "pass" {
                y += BOX_HEIGHT;
                let _ = write!(path, " L{x:.1},{y:.1}");
            }
        }
        let _ = writeln!(out, "<path d=\"{path}\"/>");
        // Near the end, where wires of one source have parted.
        let before = through[through.len() - 2];
        let near = (3.0 * to.x + self.places[before].x) / 4.0;
        let y = top(to.row) - 14.0;
        let _ = writeln!(out, "<text class=\"shape\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>", near + 4.0, escape(text));
    }
}

/// The upper edge of a row.
fn top(row: usize) -> f64 {
    MARGIN + row as f64 * ROW_HEIGHT
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::prelude::*;

    fn inception() -> Diagram {
        let m = Model::new("inception");
        let x = m.input("image <&>", [8, 8, 3], F32);
        let a = Conv2D::new(4, 1).apply(&x);
        let b = Conv2D::new(4, 3).padding(Same).apply(&Conv2D::new(2, 1).apply(&x));
        let c = MaxPooling2D::new(3).strides(1).padding(Same).apply(&x);
        let y = Concatenate::new().apply_many(&[&a, &b, &c, &x]);
        m.output(&Dense::new(10).name("digit").apply(&Flatten.apply(&y)));
        m.output(&GlobalAveragePooling2D.apply(&y));
        Diagram::of_layers(&m, &Default::default())
    }

    #[test]
    fn boxes_of_a_row_do_not_overlap_and_wires_go_down() {
        let diagram = inception();
        let mut layout = Layout::new(&diagram);
        layout.order();
        layout.spread();
        for row in &layout.rows {
            for pair in row.windows(2) {
                let (a, b) = (&layout.places[pair[0]], &layout.places[pair[1]]);
                assert!(a.x + a.width / 2.0 < b.x - b.width / 2.0);
            }
        }
        assert!(layout.pieces.iter().all(|(a, b)| layout.places[*a].row + 1 == layout.places[*b].row));
        assert_eq!(layout.wires.len(), diagram.wires.len() + 2);
        assert_eq!(layout.crossings(), 0);
    }

    #[test]
    fn pictures_hold_every_name_and_shape() {
        let diagram = inception();
        let svg = svg(&diagram);
        for text in ["image &lt;&amp;&gt;", "digit", "concatenate", "(None, 8, 8, 15)", "(None, 10)", "Conv2D"] {
            assert!(svg.contains(text), "{text}");
            assert!(text.contains('&') || diagram.dot().contains(text), "{text}");
        }
        assert_eq!(svg.matches("<rect").count(), diagram.blocks.len() + 2);
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
    }

    #[test]
    fn nothing_is_a_picture_too() {
        let diagram = Diagram { name: "none".into(), blocks: vec![], wires: vec![], outputs: vec![] };
        assert!(svg(&diagram).ends_with("</svg>\n"));
    }
}
