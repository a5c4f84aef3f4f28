//! A diagram as a picture: SVG, drawn here.

mod layout;

use std::fmt::Write;

use layout::{Kind, Label, Layout, Place, Route, label_width};

use super::diagram::Diagram;
use bakelite::names::printable;

/// Sizes in pixels. Letters are those of a font of fixed width, in boxes and on wires.
const LETTER: f64 = 7.3;
const SMALL_LETTER: f64 = 6.1;
const BOX_HEIGHT: f64 = 40.0;
const ROW_HEIGHT: f64 = 92.0;
const GAP: f64 = 22.0;
const MARGIN: f64 = 20.0;

/// What is common to all pictures. Texts lie on boxes of their own: not every program can draw an outline behind them.
const STYLE: &str = "<style>
text { text-anchor: middle; fill: #222 }
rect { stroke: #555; fill: #fff }
.input rect { fill: #e3f0fb } .layer rect { fill: #f6f6f0 } .output rect { fill: #e8f5e3 }
.class { fill: #777; font-size: 11px }
path { fill: none; stroke: #888; marker-end: url(#arrow) }
.shape rect { stroke: none; fill-opacity: 0.9 } .shape text { fill: #345; font-size: 10px }
</style>
<defs><marker id=\"arrow\" markerWidth=\"8\" markerHeight=\"8\" refX=\"7\" refY=\"4\" orient=\"auto\">\
<path d=\"M0,0 L8,4 L0,8 z\" style=\"fill: #888; stroke: none; marker-end: none\"/></marker></defs>
";

/// Draws a diagram, with shapes on the wires.
pub fn svg(diagram: &Diagram) -> String {
    let layout = Layout::new(diagram);
    let width = layout.width();
    let height = (layout.rows.len() as f64 * ROW_HEIGHT - (ROW_HEIGHT - BOX_HEIGHT)).max(0.0) + 2.0 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"monospace\" font-size=\"12\">\n\
         <title>{}</title>\n{STYLE}",
        escape(&diagram.name)
    );
    layout.routes.iter().for_each(|route| wire(&mut out, &layout.places, route));
    layout.places.iter().filter(|place| place.kind != Kind::Pass).for_each(|place| block(&mut out, place));
    // Above all wires, whosoever they are.
    layout.routes.iter().for_each(|route| label(&mut out, &layout.places, route));
    out + "</svg>\n"
}

fn block(out: &mut String, place: &Place) {
    let (x, y) = (place.x - place.width / 2.0, place.top());
    let (class, round) = match place.kind {
        Kind::Input => ("input", 5.0),
        Kind::Layer | Kind::Pass => ("layer", 5.0),
        Kind::Output => ("output", BOX_HEIGHT / 2.0),
    };
    let _ = writeln!(
        out,
        "<g class=\"{class}\"><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BOX_HEIGHT}\" rx=\"{round}\"/>",
        place.width
    );
    let first = if place.lines.len() == 1 { y + 24.0 } else { y + 17.0 };
    for (i, line) in place.lines.iter().enumerate() {
        let class = if i == 0 { "name" } else { "class" };
        let y = first + 15.0 * i as f64;
        let _ = writeln!(out, "<text class=\"{class}\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>", place.x, escape(line));
    }
    out.push_str("</g>\n");
}

/// A wire as a curve that is upright at every row.
fn wire(out: &mut String, places: &[Place], route: &Route) {
    let mut through = route.through.iter().map(|&place| &places[place]);
    let Some(from) = through.next() else { return };
    let (mut x, mut y) = (from.x, from.bottom());
    let mut path = format!("M{x:.1},{y:.1}");
    for place in through {
        let middle = (y + place.top()) / 2.0;
        let _ = write!(path, " C{x:.1},{middle:.1} {:.1},{middle:.1} {:.1},{:.1}", place.x, place.x, place.top());
        (x, y) = (place.x, place.top());
        if place.kind == Kind::Pass {
            y = place.bottom();
            let _ = write!(path, " L{x:.1},{y:.1}");
        }
    }
    let _ = writeln!(out, "<path d=\"{path}\"/>");
}

/// The shape on a wire.
fn label(out: &mut String, places: &[Place], route: &Route) {
    let [first, .., last] = route.through.as_slice() else { return };
    let (from, to) = (&places[*first], &places[*last]);
    let (x, y) = match route.label {
        Label::Pass(place) => (places[place].x, (places[place].top() + places[place].bottom()) / 2.0),
        // The point of the curve.
        Label::Piece(t) => {
            let ease = t * t * (3.0 - 2.0 * t);
            let upright = 1.5 * t * (1.0 - t) + t * t * t;
            (from.x + (to.x - from.x) * ease, from.bottom() + (to.top() - from.bottom()) * upright)
        }
    };
    let (width, text) = (label_width(&route.text), escape(&route.text));
    let _ = writeln!(
        out,
        "<g class=\"shape\"><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"13\"/>\
         <text x=\"{x:.1}\" y=\"{:.1}\">{text}</text></g>",
        x - width / 2.0,
        y - 6.5,
        y + 3.5
    );
}

fn escape(text: &str) -> String {
    printable(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::prelude::*;

    pub(super) fn inception() -> Diagram {
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
    fn pictures_hold_every_name_and_shape() {
        let diagram = inception();
        let svg = svg(&diagram);
        for text in ["image &lt;&amp;&gt;", "digit", "concatenate", "(None, 8, 8, 14)", "(None, 10)", "Conv2D"] {
            assert!(svg.contains(text), "{text}");
            assert!(text.contains('&') || diagram.dot().contains(text), "{text}");
        }
        let wires = diagram.wires.len() + 2;
        assert_eq!(svg.matches("<rect").count(), diagram.blocks.len() + 2 + wires);
        assert_eq!(svg.matches("class=\"shape\"").count(), wires);
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
    }

    #[test]
    fn nothing_is_a_picture_too() {
        let diagram = Diagram { name: "none".into(), blocks: vec![], wires: vec![], outputs: vec![] };
        assert!(svg(&diagram).ends_with("</svg>\n"));
    }
}
