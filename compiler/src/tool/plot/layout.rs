//! Where the boxes and wires of a picture lie.
//!
//! Boxes lie in rows, each below all that it takes from; a wire that passes a row takes a place in it. The places of a
//! row are ordered by where their neighbours lie (the barycentres of Sugiyama, Tagawa and Toda, 1981). Places that have
//! nobody but each other above and below form a column, which stays upright, and columns are moved as close to their
//! neighbours as the order admits.

use super::super::diagram::{Diagram, shape_text};
use super::{BOX_HEIGHT, GAP, LETTER, MARGIN, ROW_HEIGHT, SMALL_LETTER};

/// How often rows are ordered.
const SWEEPS: usize = 12;
/// How often columns are moved.
const MOVES: usize = 100;

/// What takes a place in a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Input,
    Layer,
    Output,
    /// A wire on its way.
    Pass,
}

/// A place in a row.
pub(super) struct Place {
    pub row: usize,
    pub kind: Kind,
    pub lines: Vec<String>,
    /// Of the box that is drawn.
    pub width: f64,
    /// With the texts beside it, which nothing else may cover.
    room: f64,
    /// The middle.
    pub x: f64,
}

impl Place {
    /// The upper edge.
    pub fn top(&self) -> f64 {
        MARGIN + self.row as f64 * ROW_HEIGHT
    }

    /// The lower edge.
    pub fn bottom(&self) -> f64 {
        self.top() + BOX_HEIGHT
    }
}

/// Where the text of a wire stands.
#[derive(Clone, Copy)]
pub(super) enum Label {
    /// In the place of the wire on its way.
    Pass(usize),
    /// At a part of a wire from one row to the next, between 0 and 1.
    Piece(f64),
}

/// A wire: the places that it goes through, and its text.
pub(super) struct Route {
    pub through: Vec<usize>,
    pub text: String,
    pub label: Label,
}

#[derive(Default)]
pub(super) struct Layout {
    pub places: Vec<Place>,
    /// The places of each row from left to right.
    pub rows: Vec<Vec<usize>>,
    pub routes: Vec<Route>,
    /// Pieces of wires from one row to the next.
    pub pieces: Vec<(usize, usize)>,
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
}

/// The width of a text on a wire.
pub(super) fn label_width(text: &str) -> f64 {
    text.chars().count() as f64 * SMALL_LETTER + 8.0
}

impl Layout {
    /// Lays out a diagram.
    pub fn new(diagram: &Diagram) -> Layout {
        let mut layout = Layout::rows(diagram);
        layout.order();
        layout.spread();
        layout
    }

    /// The boxes in their rows, and the wires between them.
    fn rows(diagram: &Diagram) -> Layout {
        let count = diagram.blocks.len();
        // Outputs are places too, each with a wire of its own.
        let outputs =
            diagram.outputs.iter().enumerate().map(|(i, (_, block, result))| {
                (*block, count + i, shape_text(&diagram.blocks[*block].results[*result]))
            });
        let wires = diagram.wires.iter().map(|wire| (wire.from, wire.to, shape_text(&wire.ty)));
        let wires: Vec<(usize, usize, String)> = wires.chain(outputs).collect();
        // Blocks come in an order that follows their wires; a wire that goes back is drawn, and moves nothing.
        let mut depth = vec![0; count + diagram.outputs.len()];
        for to in 0..depth.len() {
            let from = wires.iter().filter(|w| w.1 == to && w.0 < to).map(|w| depth[w.0] + 1);
            depth[to] = from.max().unwrap_or(0);
        }
        let rows = vec![Vec::new(); depth.iter().max().map_or(0, |d| d + 1)];
        let mut layout = Layout { rows, ..Layout::default() };
        for (i, block) in diagram.blocks.iter().enumerate() {
            let kind = if block.is_input() { Kind::Input } else { Kind::Layer };
            layout.place(depth[i], vec![block.name.clone(), block.class.clone()], kind);
        }
        for (i, (name, ..)) in diagram.outputs.iter().enumerate() {
            layout.place(depth[count + i], vec![name.clone()], Kind::Output);
        }
        let ends = |pick: &dyn Fn(&(usize, usize, String)) -> usize, at| wires.iter().filter(|w| pick(w) == at).count();
        for (from, to, text) in &wires {
            let alone = (ends(&|w| w.0, *from) == 1, ends(&|w| w.1, *to) == 1);
            layout.route(*from, *to, text.clone(), alone);
        }
        layout
    }

    fn place(&mut self, row: usize, lines: Vec<String>, kind: Kind) -> usize {
        let letters = lines.iter().map(|line| line.chars().count()).max();
        let width = letters.map_or(8.0, |letters| letters as f64 * LETTER + 24.0);
        self.rows[row].push(self.places.len());
        self.places.push(Place { row, kind, lines, width, room: width, x: 0.0 });
        self.above.push(Vec::new());
        self.below.push(Vec::new());
        self.places.len() - 1
    }

    /// A wire, with its text where wires that begin or end together lie apart. `alone` says of both ends whether no other
    /// wire begins or ends there.
    fn route(&mut self, from: usize, to: usize, text: String, alone: (bool, bool)) {
        let rows = self.places[from].row + 1..self.places[to].row;
        let mut through = vec![from];
        through.extend(rows.map(|row| self.place(row, Vec::new(), Kind::Pass)));
        through.push(to);
        if self.places[from].row < self.places[to].row {
            for pair in through.windows(2) {
                self.pieces.push((pair[0], pair[1]));
                self.below[pair[0]].push(pair[1]);
                self.above[pair[1]].push(pair[0]);
            }
        }
        let (label, beside) = match (alone, through.len()) {
            (_, 3..) => (Label::Pass(through[through.len() / 2]), through[through.len() / 2]),
            ((true, false), _) => (Label::Piece(0.2), from),
            ((false, true), _) => (Label::Piece(0.8), to),
            _ => (Label::Piece(0.5), to),
        };
        let room = &mut self.places[beside].room;
        *room = room.max(label_width(&text));
        self.routes.push(Route { through, text, label });
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

    /// Gives every place its middle.
    fn spread(&mut self) {
        let columns = Columns::new(self, true).or_else(|| Columns::new(self, false));
        let Some(mut columns) = columns else { return };
        for number in 0..MOVES {
            columns.pull(self, number % 2 == 0);
        }
        for (place, column) in self.places.iter_mut().zip(&columns.of) {
            place.x = columns.x[*column];
        }
        let left = self.places.iter().map(|p| p.x - p.room / 2.0).fold(f64::INFINITY, f64::min);
        self.places.iter_mut().for_each(|place| place.x += MARGIN - left);
    }

    /// How far the middles of two neighbours are apart, at least.
    fn apart(&self, a: usize, b: usize) -> f64 {
        (self.places[a].room + self.places[b].room) / 2.0 + GAP
    }

    /// The total width.
    pub fn width(&self) -> f64 {
        self.places.iter().map(|p| p.x + p.room / 2.0).fold(0.0, f64::max) + MARGIN
    }
}

/// Places that lie below each other.
struct Columns {
    /// The column of each place.
    of: Vec<usize>,
    members: Vec<Vec<usize>>,
    /// The middle of each.
    x: Vec<f64>,
    /// The places beside each place in its row.
    beside: Vec<[Option<usize>; 2]>,
}

impl Columns {
    /// Columns of more than one place where `joined`, side by side and as far left as the order admits; none where the
    /// order of the rows contradicts itself.
    fn new(layout: &Layout, joined: bool) -> Option<Columns> {
        let count = layout.places.len();
        let mut columns =
            Columns { of: vec![0; count], members: Vec::new(), x: Vec::new(), beside: vec![[None; 2]; count] };
        for row in &layout.rows {
            for &place in row {
                let only = |list: &[usize]| <[usize; 1]>::try_from(list).ok().map(|[one]| one);
                let above =
                    only(&layout.above[place]).filter(|above| joined && only(&layout.below[*above]) == Some(place));
                columns.of[place] = above.map_or(columns.members.len(), |above| columns.of[above]);
                match columns.members.get_mut(columns.of[place]) {
                    Some(members) => members.push(place),
                    None => columns.members.push(vec![place]),
                }
            }
            for pair in row.windows(2) {
                columns.beside[pair[0]][1] = Some(pair[1]);
                columns.beside[pair[1]][0] = Some(pair[0]);
            }
        }
        columns.x = vec![0.0; columns.members.len()];
        // Each column after those to its left.
        let lefts = |column: usize| columns.members[column].iter().filter_map(|place| columns.beside[*place][0]);
        let mut waits: Vec<usize> = (0..columns.x.len()).map(|column| lefts(column).count()).collect();
        let mut ready: Vec<usize> = (0..columns.x.len()).filter(|column| waits[*column] == 0).collect();
        let mut done = 0;
        while let Some(column) = ready.pop() {
            done += 1;
            for &place in &columns.members[column] {
                let Some(right) = columns.beside[place][1] else { continue };
                let next = columns.of[right];
                columns.x[next] = columns.x[next].max(columns.x[column] + layout.apart(place, right));
                waits[next] -= 1;
                if waits[next] == 0 {
                    ready.push(next);
                }
            }
        }
        (done == columns.x.len()).then_some(columns)
    }

    /// Moves each column towards the middle of its neighbours, as far as the places beside it let it.
    fn pull(&mut self, layout: &Layout, from_left: bool) {
        let mut order: Vec<usize> = (0..self.x.len()).collect();
        order.sort_by(|a, b| self.x[*a].total_cmp(&self.x[*b]));
        if !from_left {
            order.reverse();
        }
        for column in order {
            let members = &self.members[column];
            let near = members.iter().flat_map(|&place| layout.above[place].iter().chain(&layout.below[place]));
            let near: Vec<f64> = near.filter(|n| self.of[**n] != column).map(|n| self.x[self.of[*n]]).collect();
            if near.is_empty() {
                continue;
            }
            let wanted = near.iter().sum::<f64>() / near.len() as f64;
            let end = |side: usize, place: usize| {
                let next = self.beside[place][side]?;
                let apart = layout.apart(place, next);
                Some(self.x[self.of[next]] + if side == 0 { apart } else { -apart })
            };
            let least = members.iter().filter_map(|&place| end(0, place)).fold(f64::NEG_INFINITY, f64::max);
            let most = members.iter().filter_map(|&place| end(1, place)).fold(f64::INFINITY, f64::min);
            self.x[column] = wanted.min(most).max(least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::inception;
    use super::*;

    #[test]
    fn places_of_a_row_do_not_overlap_and_wires_go_down() {
        let diagram = inception();
        let layout = Layout::new(&diagram);
        for row in &layout.rows {
            for pair in row.windows(2) {
                let (a, b) = (&layout.places[pair[0]], &layout.places[pair[1]]);
                assert!(a.x + a.room / 2.0 < b.x - b.room / 2.0);
            }
        }
        assert!(layout.pieces.iter().all(|(a, b)| layout.places[*a].row + 1 == layout.places[*b].row));
        assert_eq!(layout.routes.len(), diagram.wires.len() + 2);
        assert_eq!(layout.crossings(), 0);
    }

    #[test]
    fn columns_are_upright() {
        let layout = Layout::new(&inception());
        let (mut upright, all) = (0, layout.pieces.len());
        for &(upper, lower) in &layout.pieces {
            if layout.below[upper].len() == 1 && layout.above[lower].len() == 1 {
                assert_eq!(layout.places[upper].x, layout.places[lower].x);
                upright += 1;
            }
        }
        assert!(upright >= 4 && upright < all, "{upright} of {all}");
    }
}
